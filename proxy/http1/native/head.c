/* Whole heads: what `parse_request` and `parse_response` of proxy/http1/head.py make of the plain ones. */
#include "native.h"

PyObject *new_request, *new_response;

enum {
    CHUNKED = -1,
    UNTIL_CLOSE = -2,
    UNKNOWN = -3, /* no Content-Length so far */
    LONGEST_TARGET = 16384,
    MOST_DROPPED = 8, /* lines of this hop; more are the twin's business */
};

/* ---- from spans to objects */

static const char *const usual_methods[] = {"GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"};
enum { USUAL_METHODS = sizeof usual_methods / sizeof *usual_methods };
static PyObject *method_objects[USUAL_METHODS];

bool head_prepare(void)
{
    for (int i = 0; i < USUAL_METHODS; i++)
        if ((method_objects[i] = PyBytes_FromString(usual_methods[i])) == NULL)
            return false;
    return true;
}

/* Empty if there is no such line. */
static PyObject *bytes_of(Span span)
{
    return PyBytes_FromStringAndSize((const char *)span.at, span.at == NULL ? 0 : span_size(span));
}

static bool is_exactly(Span span, const char *text)
{
    size_t size = strlen(text);
    return (size_t)span_size(span) == size && memcmp(span.at, text, size) == 0;
}

static PyObject *method_of(Span method)
{
    for (int i = 0; i < USUAL_METHODS; i++)
        if (is_exactly(method, usual_methods[i]))
            return Py_NewRef(method_objects[i]);
    return bytes_of(method);
}

/* Calls the function with these arguments, whose references it takes; NULL among them is an error that is set. */
static PyObject *call(PyObject *function, PyObject **args, int count)
{
    bool ok = true;
    for (int i = 0; i < count; i++)
        ok = ok && args[i] != NULL;
    PyObject *made = ok ? PyObject_Vectorcall(function, args, (size_t)count, NULL) : NULL;
    for (int i = 0; i < count; i++)
        Py_XDECREF(args[i]);
    return made;
}

/* The same functions where they are compiled: proxy/http1/message.pxd has their types. The last argument is Cython's. */
typedef PyObject *MakeRequest(PyObject *raw, PyObject *method, PyObject *path, PyObject *host, long long length, int keep,
                              int request_id, PyObject *forwarded_for, int scheme, int expects, PyObject *upgrade, int);
typedef PyObject *MakeResponse(PyObject *raw, int status, long long length, int keep, int chunked, PyObject *upgrade, int);
static MakeRequest *make_request;
static MakeResponse *make_response;

/* A function that a compiled module exports; NULL without an error if there is none of that type. */
static void *exported(PyObject *module, const char *name, const char *arguments)
{
    PyObject *all = PyObject_GetAttrString(module, "__pyx_capi__");
    PyObject *one = all == NULL ? NULL : PyMapping_GetItemString(all, name);
    const char *type = one == NULL ? NULL : PyCapsule_GetName(one);
    const char *found = type == NULL ? NULL : strchr(type, '(');
    void *function = found != NULL && strcmp(found, arguments) == 0 ? PyCapsule_GetPointer(one, type) : NULL;
    PyErr_Clear();
    Py_XDECREF(one);
    Py_XDECREF(all);
    return function;
}

void head_find(PyObject *message)
{
    make_request = exported(message, "request",
                            "(PyObject *, PyObject *, PyObject *, PyObject *, PY_LONG_LONG, int, int, PyObject *, int, int, "
                            "PyObject *, int __pyx_skip_dispatch)");
    make_response =
        exported(message, "response", "(PyObject *, int, PY_LONG_LONG, int, int, PyObject *, int __pyx_skip_dispatch)");
}

/* ---- the lines */

typedef struct {
    PyObject *raw;
    Span rest; /* lines not read yet */
    long fields_left;
    int dropped;
    Span drops[MOST_DROPPED]; /* lines that are not forwarded, each with the CRLF before it */
} Reading;

static Reading begin(PyObject *raw, long max_fields)
{
    const uint8_t *at = (const uint8_t *)PyBytes_AS_STRING(raw);
    return (Reading){.raw = raw, .rest = {at, at + PyBytes_GET_SIZE(raw)}, .fields_left = max_fields};
}

static bool next_field(Reading *reading, Span *line, Field *field)
{
    if (reading->fields_left <= 0)
        return false;
    reading->fields_left--;
    return cut_line(&reading->rest, line) && read_field(*line, field);
}

static bool drop(Reading *reading, Span line)
{
    if (reading->dropped == MOST_DROPPED)
        return false;
    reading->drops[reading->dropped++] = (Span){line.at - 2, line.end};
    return true;
}

/* The head without the lines that were dropped. */
static PyObject *forwarded(const Reading *reading)
{
    if (reading->dropped == 0)
        return Py_NewRef(reading->raw);
    Py_ssize_t size = PyBytes_GET_SIZE(reading->raw);
    for (int i = 0; i < reading->dropped; i++)
        size -= span_size(reading->drops[i]);
    PyObject *kept = PyBytes_FromStringAndSize(NULL, size);
    if (kept == NULL)
        return NULL;
    char *out = PyBytes_AS_STRING(kept);
    const uint8_t *at = (const uint8_t *)PyBytes_AS_STRING(reading->raw);
    for (int i = 0; i < reading->dropped; i++) {
        Span lost = reading->drops[i];
        memcpy(out, at, (size_t)(lost.at - at));
        out += lost.at - at;
        at = lost.end;
    }
    memcpy(out, at, (size_t)(reading->rest.end - at));
    return kept;
}

static bool take_length(Span value, int64_t *length)
{
    return *length == UNKNOWN && read_length(value, length);
}

static bool take_chunked(Span value, bool *chunked)
{
    bool first = !*chunked;
    *chunked = true;
    return first && is_word(value, "chunked");
}

/* ---- requests */

typedef struct {
    Span method, path;
    Span host, forwarded_for, upgrade; /* `at` is NULL if there is no such line */
    int64_t length;
    Options options;
    bool chunked, expects, scheme, request_id;
} Request;

static bool once(Span *kept, Span value)
{
    bool first = kept->at == NULL;
    *kept = value;
    return first;
}

static bool read_request_line(Span line, Request *request)
{
    Span target;
    if (!cut_word(&line, &request->method) || !cut_word(&line, &target))
        return false;
    bool plain = is_token(request->method) && !is_exactly(request->method, "CONNECT") && is_target(target)
                 && span_size(target) > 0 && span_size(target) <= LONGEST_TARGET && *target.at == '/';
    const uint8_t *query = memchr(target.at, '?', (size_t)span_size(target));
    request->path = (Span){target.at, query ? query : target.end};
    return plain && is_exactly(line, "HTTP/1.1");
}

static bool read_request_field(Reading *reading, Request *request)
{
    Span line;
    Field field;
    if (!next_field(reading, &line, &field))
        return false;
    switch (field.mark) {
    case PASS:
        return true;
    case HOST:
        return once(&request->host, field.value) && is_host(field.value);
    case CONTENT_LENGTH:
        return take_length(field.value, &request->length);
    case TRANSFER_ENCODING:
        return take_chunked(field.value, &request->chunked);
    case CONNECTION:
        return read_options(field.value, &request->options) && drop(reading, line);
    case HOP:
        return drop(reading, line);
    case UPGRADE:
        return once(&request->upgrade, field.value) && drop(reading, line);
    case EXPECT: {
        bool first = !request->expects;
        request->expects = true;
        return first && is_word(field.value, "100-continue");
    }
    case FORWARDED_FOR:
        return once(&request->forwarded_for, field.value) && drop(reading, line);
    case FORWARDED_PROTO:
        request->scheme = true;
        return true;
    case REQUEST_ID:
        request->request_id = true;
        return true;
    case MAX_FORWARDS: /* counts down for these two methods */
        return !is_exactly(request->method, "OPTIONS") && !is_exactly(request->method, "TRACE");
    }
    return false;
}

PyObject *read_request(PyObject *raw, long max_fields)
{
    Reading reading = begin(raw, max_fields);
    Request request = {.length = UNKNOWN};
    Span line;
    if (!cut_line(&reading.rest, &line) || !read_request_line(line, &request))
        return NULL;
    while (reading.rest.at < reading.rest.end)
        if (!read_request_field(&reading, &request))
            return NULL;
    if (request.host.at == NULL || (request.chunked && request.length != UNKNOWN))
        return NULL;
    int64_t length = request.chunked ? CHUNKED : request.length == UNKNOWN ? 0 : request.length;
    bool upgrades = request.options.upgrade && request.upgrade.at != NULL;
    PyObject *kept = forwarded(&reading), *method = method_of(request.method), *path = bytes_of(request.path),
             *host = bytes_of(request.host), *forwarded_for = bytes_of(request.forwarded_for),
             *upgrade = bytes_of(upgrades ? request.upgrade : (Span){NULL, NULL});
    bool keep = !request.options.close;
    if (make_request == NULL) {
        PyObject *args[] = {
            kept,
            method,
            path,
            host,
            PyLong_FromLongLong(length),
            PyBool_FromLong(keep),
            PyBool_FromLong(request.request_id),
            forwarded_for,
            PyBool_FromLong(request.scheme),
            PyBool_FromLong(request.expects),
            upgrade,
        };
        return call(new_request, args, 11);
    }
    PyObject *made = NULL;
    if (kept != NULL && method != NULL && path != NULL && host != NULL && forwarded_for != NULL && upgrade != NULL)
        made = make_request(kept, method, path, host, length, keep, request.request_id, forwarded_for, request.scheme,
                            request.expects, upgrade, 0);
    Py_XDECREF(kept);
    Py_XDECREF(method);
    Py_XDECREF(path);
    Py_XDECREF(host);
    Py_XDECREF(forwarded_for);
    Py_XDECREF(upgrade);
    return made;
}

/* ---- responses */

typedef struct {
    int status;
    int64_t length;
    Options options;
    bool chunked;
    Span upgrade;
} Response;

static bool read_status_line(Span line, Response *response)
{
    static const char version[] = "HTTP/1.1 ";
    enum { STATUS_AT = sizeof version - 1, REASON_AT = STATUS_AT + 4 };
    if (span_size(line) < REASON_AT || memcmp(line.at, version, STATUS_AT) != 0)
        return false;
    const uint8_t *status = line.at + STATUS_AT;
    bool plain = status[0] >= '1' && status[0] <= '9' && status[1] >= '0' && status[1] <= '9' && status[2] >= '0'
                 && status[2] <= '9' && status[3] == ' ' && is_text((Span){line.at + REASON_AT, line.end});
    response->status = (status[0] - '0') * 100 + (status[1] - '0') * 10 + (status[2] - '0');
    return plain;
}

static bool states_no_length(int status)
{
    return status < 200 || status == 204; /* RFC 9110 section 8.6 */
}

static bool read_response_field(Reading *reading, Response *response)
{
    Span line;
    Field field;
    if (!next_field(reading, &line, &field))
        return false;
    switch (field.mark) {
    case CONTENT_LENGTH:
        return take_length(field.value, &response->length)
               && (!states_no_length(response->status) || drop(reading, line));
    case TRANSFER_ENCODING:
        return take_chunked(field.value, &response->chunked)
               && (!states_no_length(response->status) || drop(reading, line));
    case CONNECTION:
        return read_options(field.value, &response->options) && drop(reading, line);
    case UPGRADE:
        response->upgrade = field.value;
        return drop(reading, line);
    case HOP:
        return drop(reading, line);
    default:
        return true;
    }
}

PyObject *read_response(PyObject *raw, PyObject *method, long max_fields)
{
    Reading reading = begin(raw, max_fields);
    Response response = {.length = UNKNOWN};
    Span line;
    if (!cut_line(&reading.rest, &line) || !read_status_line(line, &response))
        return NULL;
    while (reading.rest.at < reading.rest.end)
        if (!read_response_field(&reading, &response))
            return NULL;
    if (response.chunked && response.length != UNKNOWN)
        return NULL;
    int status = response.status;
    bool to_head = PyBytes_GET_SIZE(method) == 4 && memcmp(PyBytes_AS_STRING(method), "HEAD", 4) == 0;
    int64_t length = response.length == UNKNOWN ? UNTIL_CLOSE : response.length;
    if (to_head || states_no_length(status) || status == 304) /* RFC 9112 section 6.3 */
        length = 0;
    else if (response.chunked)
        length = CHUNKED;
    bool keep = !response.options.close && length != UNTIL_CLOSE;
    PyObject *kept = forwarded(&reading), *upgrade = bytes_of(response.upgrade);
    if (make_response == NULL) {
        PyObject *args[] = {
            kept, PyLong_FromLong(status), PyLong_FromLongLong(length), PyBool_FromLong(keep),
            PyBool_FromLong(response.chunked), upgrade,
        };
        return call(new_response, args, 6);
    }
    PyObject *made = NULL;
    if (kept != NULL && upgrade != NULL)
        made = make_response(kept, status, length, keep, response.chunked, upgrade, 0);
    Py_XDECREF(kept);
    Py_XDECREF(upgrade);
    return made;
}
