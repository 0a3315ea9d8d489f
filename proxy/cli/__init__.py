"""The proxy's commands of `hotswap`: run, check, schema. One module each, so that none pays for another's imports."""
