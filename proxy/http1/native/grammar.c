/* Lines, field names and values (RFC 9110 section 5, RFC 9112 sections 2 to 5), as proxy/http1/fields.py has them. */
#include "native.h"

/* ---- characters */

enum {
    TOKEN = 1,    /* RFC 9110 section 5.6.2 */
    TARGET = 2,   /* printable ASCII but for the number sign, which begins a fragment */
    REG_NAME = 4, /* of a host, RFC 3986 section 3.2.2 */
    ADDRESS = 8,  /* within the brackets of an IPv6 address */
};

static uint8_t kinds[256];

static void add(const char *characters, int kind)
{
    for (; *characters; characters++)
        kinds[(uint8_t)*characters] |= (uint8_t)kind;
}

void grammar_prepare(void)
{
    add("0123456789abcdefABCDEF", TOKEN | REG_NAME | ADDRESS);
    add("ghijklmnopqrstuvwxyzGHIJKLMNOPQRSTUVWXYZ", TOKEN | REG_NAME);
    add("!#$%&'*+-.^_`|~", TOKEN);
    add("-._~%!$&'()*+;=", REG_NAME);
    add(":.", ADDRESS);
    for (int c = 0x21; c <= 0x7e; c++)
        if (c != '#')
            kinds[c] |= TARGET;
}

static const uint8_t *skip(const uint8_t *at, const uint8_t *end, int kind)
{
    while (at < end && kinds[*at] & kind)
        at++;
    return at;
}

static bool all(Span span, int kind)
{
    return skip(span.at, span.end, kind) == span.end;
}

bool is_token(Span word)
{
    return word.at < word.end && all(word, TOKEN);
}

bool is_target(Span word)
{
    return all(word, TARGET);
}

/* No control characters but tabs. Without a table and without an early end, so that the compiler takes many bytes at a
 * time: half of what reading a head takes is spent here. */
bool is_text(Span value)
{
    uint8_t wrong = 0;
    for (const uint8_t *at = value.at; at < value.end; at++)
        wrong |= (*at < 0x20 && *at != '\t') || *at == 0x7f;
    return !wrong;
}

/* All of them are letters, digits and hyphens; text and tokens have no control character that the bit could make one
 * of these of. */
bool is_word(Span value, const char *lower)
{
    size_t size = strlen(lower);
    if ((size_t)span_size(value) != size)
        return false;
    for (size_t i = 0; i < size; i++)
        if ((value.at[i] | 0x20) != lower[i])
            return false;
    return true;
}

/* ---- lines */

bool cut_line(Span *rest, Span *line)
{
    const uint8_t *cr = memchr(rest->at, '\r', (size_t)span_size(*rest));
    line->at = rest->at;
    if (cr == NULL) {
        line->end = rest->at = rest->end;
        return true;
    }
    if (rest->end - cr < 3 || cr[1] != '\n') /* nor is there an empty line at the end */
        return false;
    line->end = cr;
    rest->at = cr + 2;
    return true;
}

bool cut_word(Span *rest, Span *word)
{
    const uint8_t *space = memchr(rest->at, ' ', (size_t)span_size(*rest));
    if (space == NULL)
        return false;
    *word = (Span){rest->at, space};
    rest->at = space + 1;
    return true;
}

static const struct {
    size_t size;
    const char *name;
    Mark mark;
} marked[] = {
    {4, "host", HOST},
    {14, "content-length", CONTENT_LENGTH},
    {17, "transfer-encoding", TRANSFER_ENCODING},
    {10, "connection", CONNECTION},
    {10, "keep-alive", HOP},
    {16, "proxy-connection", HOP},
    {2, "te", HOP},
    {7, "upgrade", UPGRADE},
    {6, "expect", EXPECT},
    {15, "x-forwarded-for", FORWARDED_FOR},
    {17, "x-forwarded-proto", FORWARDED_PROTO},
    {12, "x-request-id", REQUEST_ID},
    {12, "max-forwards", MAX_FORWARDS},
};

static Mark mark_of(Span name)
{
    for (size_t i = 0; i < sizeof marked / sizeof *marked; i++)
        if ((size_t)span_size(name) == marked[i].size && is_word(name, marked[i].name))
            return marked[i].mark;
    return PASS;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

bool read_field(Span line, Field *field)
{
    const uint8_t *colon = skip(line.at, line.end, TOKEN);
    if (colon == line.at || colon == line.end || *colon != ':')
        return false;
    Span value = {colon + 1, line.end};
    if (!is_text(value))
        return false;
    field->mark = mark_of((Span){line.at, colon});
    if (field->mark == PASS)
        return true;
    while (value.at < value.end && is_blank(*value.at))
        value.at++;
    while (value.at < value.end && is_blank(value.end[-1]))
        value.end--;
    field->value = value;
    return true;
}

/* ---- values */

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

bool read_length(Span value, int64_t *length)
{
    Py_ssize_t size = span_size(value);
    if (size < 1 || size > 19) /* 19 digits fit into 64 bits without a sign */
        return false;
    uint64_t number = 0;
    for (const uint8_t *at = value.at; at < value.end; at++) {
        if (!is_digit(*at))
            return false;
        number = number * 10 + (uint64_t)(*at - '0');
    }
    *length = (int64_t)number;
    return number <= INT64_MAX;
}

bool is_host(Span value)
{
    const uint8_t *at = value.at;
    if (at < value.end && *at == '[') {
        const uint8_t *close = skip(at + 1, value.end, ADDRESS);
        if (close == at + 1 || close == value.end || *close != ']')
            return false;
        at = close + 1;
    } else {
        at = skip(at, value.end, REG_NAME);
    }
    if (at == value.end)
        return true;
    if (*at++ != ':' || value.end - at > 5)
        return false;
    while (at < value.end && is_digit(*at))
        at++;
    return at == value.end;
}

static const uint8_t *skip_blanks(const uint8_t *at, const uint8_t *end, bool commas)
{
    while (at < end && (is_blank(*at) || (commas && *at == ',')))
        at++;
    return at;
}

bool read_options(Span value, Options *options)
{
    const uint8_t *at = skip_blanks(value.at, value.end, true);
    while (at < value.end) {
        Span option = {at, skip(at, value.end, TOKEN)};
        if (is_word(option, "close"))
            options->close = true;
        else if (is_word(option, "keep-alive"))
            options->keep_alive = true;
        else if (is_word(option, "upgrade"))
            options->upgrade = true;
        else
            return false;
        at = skip_blanks(option.end, value.end, false);
        if (at < value.end && *at != ',')
            return false;
        at = skip_blanks(at, value.end, true);
    }
    return true;
}
