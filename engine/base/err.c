/* Error codes and the text of one failure. The cause (the innermost text) is worth more than
 * the story of how we got there, so where both do not fit, the story is cut. */
#include "sop/sop_err.h"

#include "engine/base/base.h"

#include <stdio.h>
#include <string.h>

enum sop_err_class sop_err_class(int code)
{
    switch (code) {
    case SOP_OK:
        return SOP_CLASS_NONE;
#define ERR_CLASS(name, number, class, text)                                                   \
    case SOP_ERR_##name:                                                                       \
        return SOP_CLASS_##class;
        SOP_ERR_TABLE(ERR_CLASS)
#undef ERR_CLASS
    default:
        return SOP_CLASS_FATAL;
    }
}

const char *sop_err_name(int code)
{
    switch (code) {
    case SOP_OK:
        return "OK";
#define ERR_NAME(name, number, class, text)                                                    \
    case SOP_ERR_##name:                                                                       \
        return #name;
        SOP_ERR_TABLE(ERR_NAME)
#undef ERR_NAME
    default:
        return "?";
    }
}

const char *sop_err_text(int code)
{
    switch (code) {
    case SOP_OK:
        return "no error";
#define ERR_TEXT(name, number, class, text)                                                    \
    case SOP_ERR_##name:                                                                       \
        return text;
        SOP_ERR_TABLE(ERR_TEXT)
#undef ERR_TEXT
    default:
        return "unknown error code; the library is newer than this program";
    }
}

int sop_err_set(struct sop_err *err, int code, int sys, const char *file, int line,
                const char *fmt, ...)
{
    SOP_ASSERT(code < 0);
    if (err == NULL) {
        return code;
    }
    /* Formatted aside: an argument may be the text that is being replaced. */
    char text[SOP_ERR_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (len < 0) {
        text[0] = '\0'; /* UNTESTED: an encoding error needs a wide-character format */
    }
    err->code = code;
    err->sys = sys;
    err->file = file;
    err->line = line;
    memcpy(err->text, text, sizeof text);
    if (sys != 0) {
        char cause[128];
        const char *shown = strerror_r(sys, cause, sizeof cause);
        size_t room = sizeof err->text - 1 - (strlen(shown) + 2);
        if (strlen(text) > room) {
            text[room] = '\0';
        }
        (void)snprintf(err->text, sizeof err->text, "%.*s: %s", (int)room, text, shown);
    }
    return code;
}

int sop_err_wrap(struct sop_err *err, int code, const char *fmt, ...)
{
    if (err == NULL || code == 0) {
        return code;
    }
    char story[SOP_ERR_TEXT_BYTES];
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(story, sizeof story, fmt, args);
    va_end(args);
    if (len < 0) {
        return code; /* UNTESTED: an encoding error needs a wide-character format */
    }
    size_t cause_len = strnlen(err->text, sizeof err->text - 1);
    size_t room = sizeof err->text - 1 - cause_len;
    if (room <= 2) {
        return code; /* no room for more story */
    }
    size_t story_len = strlen(story);
    if (story_len > room - 2) {
        story_len = room - 2;
    }
    memmove(err->text + story_len + 2, err->text, cause_len);
    memcpy(err->text, story, story_len);
    memcpy(err->text + story_len, ": ", 2);
    err->text[story_len + 2 + cause_len] = '\0';
    return code;
}
