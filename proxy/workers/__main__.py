"""See `proxy.workers.duty`."""

from proxy.workers.duty import main

if __name__ == "__main__":
    main()
