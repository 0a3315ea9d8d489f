/* proxy.http1._head: reads the heads of plain messages in C. What its files share.
 *
 *     module.c     the module: its functions, and the twin that they ask
 *     head.c       whole heads: what of a request or a response a proxy has to know
 *     grammar.c    lines, field names, values
 *
 * proxy/http1/head.py is the same in Python, its twin, and where the grammar and its reasons are explained. This one knows
 * the messages that are nearly all there are, and it never refuses: whatever it is not sure of, malformed or merely
 * rare, the twin reads again and decides. So only Python says no, and what C says has to be what Python would say.
 */
#ifndef HOTSWAP_HTTP1_NATIVE_H
#define HOTSWAP_HTTP1_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* ---- grammar.c: true only for what is certain; false is for the twin */

typedef struct {
    const uint8_t *at, *end;
} Span;

static inline Py_ssize_t span_size(Span span)
{
    return span.end - span.at;
}

/* What a field line means to a proxy: the marks of proxy/http1/fields.py. */
typedef enum {
    PASS,
    HOST,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONNECTION,
    HOP,
    UPGRADE,
    EXPECT,
    FORWARDED_FOR,
    FORWARDED_PROTO,
    REQUEST_ID,
    MAX_FORWARDS,
} Mark;

typedef struct {
    Mark mark;
    Span value; /* without the white space around it */
} Field;

typedef struct {
    bool close, keep_alive, upgrade;
} Options;

void grammar_prepare(void); /* once, at import */

bool cut_line(Span *rest, Span *line); /* the next line, without its CRLF; the last one has none */
bool cut_word(Span *rest, Span *word); /* up to a space, which goes */
bool is_token(Span word);
bool is_target(Span word); /* characters that a request target may have */
bool is_text(Span value);
bool is_host(Span value);
bool is_word(Span value, const char *lower); /* in any case; `value` is text or a token */
bool read_field(Span line, Field *field);
bool read_length(Span value, int64_t *length);
bool read_options(Span value, Options *options); /* adds to what there is; no others than these three */

/* ---- head.c: a new reference; NULL without an error is for the twin */

extern PyObject *new_request, *new_response; /* `request` and `response` of proxy.http1.message */

bool head_prepare(void); /* once, at import */
void head_find(PyObject *message); /* proxy.http1.message: its functions for C, if it has any */
PyObject *read_request(PyObject *raw, long max_fields);
PyObject *read_response(PyObject *raw, PyObject *method, long max_fields);

#endif
