/* Errors of libsop: one table of codes, each with a class that code decides by and a text
 * that people read.
 *
 * Every function of the library that can fail returns int: 0, or one of the negative codes
 * below. The last parameter of such a function is `struct sop_err *err`: owned by the
 * caller, may be NULL, filled only on failure. There is no thread-local "last error". */
#ifndef SOP_ERR_H
#define SOP_ERR_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SOP_API                     __attribute__((visibility("default")))
#define SOP_MUST_USE                __attribute__((warn_unused_result))
#define SOP_PRINTF(fmt_at, args_at) __attribute__((format(printf, fmt_at, args_at)))
#else
#define SOP_API
#define SOP_MUST_USE
#define SOP_PRINTF(fmt_at, args_at)
#endif

/* What a caller can do about an error. */
enum sop_err_class {
    SOP_CLASS_NONE = 0,    /* no error */
    SOP_CLASS_RETRY = 1,   /* the same call may work later */
    SOP_CLASS_RESTART = 2, /* the transaction must start again */
    SOP_CLASS_REFUSE = 3,  /* the caller is wrong, over a limit, or the thing is absent */
    SOP_CLASS_FATAL = 4,   /* this handle must be closed; reopening tells what happened */
};

/* code, number, class, text (what it means and what to do). Numbers never change. */
#define SOP_ERR_TABLE(X)                                                                       \
    X(NOT_FOUND, -1, REFUSE, "not found")                                                      \
    X(EXISTS, -2, REFUSE, "already exists")                                                    \
    X(CONFLICT, -3, RESTART, "conflict with another transaction; run the transaction again")   \
    X(TIMEOUT, -4, RESTART, "time is up; run the transaction again with more time")            \
    X(INVALID, -5, REFUSE, "invalid argument")                                                 \
    X(TOO_LARGE, -6, REFUSE, "over a size limit")                                              \
    X(WRONG_TYPE, -7, REFUSE, "wrong type for this store")                                     \
    X(READ_ONLY, -8, REFUSE, "read-only; open it for writing")                                 \
    X(CLOSED, -9, REFUSE, "used after close, commit or rollback")                              \
    X(BUSY, -10, RETRY, "in use by another opener; close it there first")                      \
    X(NOMEM, -11, RETRY, "out of memory; lower the budget or free memory")                     \
    X(NOSPACE, -12, RETRY, "no space left on the volume; free space and try again")            \
    X(QUOTA, -13, REFUSE, "over the byte limit of this database; raise it or delete data")     \
    X(IO, -14, FATAL, "input/output error; close, check the volume, reopen")                   \
    X(DATA_LOSS, -15, FATAL,                                                                   \
      "stored bytes are damaged; run `sopctl verify`, restore a backup")                       \
    X(VERSION, -16, REFUSE, "format version not supported; use a matching release")            \
    X(NOT_A_DATABASE, -17, REFUSE, "not a SOP database; check the path or run `sopctl init`")  \
    X(UNKNOWN, -18, FATAL,                                                                     \
      "outcome unknown; ask sop_txn_status() with the id after reopening")                     \
    X(STOPPED, -19, FATAL,                                                                     \
      "this handle stopped after an earlier fatal error; close and reopen")                    \
    X(FORKED, -20, REFUSE, "handle used in a forked child; open the database in the child")    \
    X(REFUSED_VOLUME, -21, REFUSE,                                                             \
      "the volume does not keep its contract; see `sopctl doctor`")                            \
    X(CANCELLED, -22, RESTART, "cancelled by the caller")                                      \
    X(LIMIT, -23, REFUSE, "over a configured limit")                                           \
    X(SEALED, -24, RETRY,                                                                      \
      "another opener has taken the database over; reopen it when that one is done")           \
    X(END, -25, REFUSE, "no more items")                                                       \
    X(UNSUPPORTED, -26, REFUSE, "not supported here")

enum sop_err_code {
    SOP_OK = 0,
#define SOP_ERR_ENUM(name, number, class, text) SOP_ERR_##name = number,
    SOP_ERR_TABLE(SOP_ERR_ENUM)
#undef SOP_ERR_ENUM
};

#define SOP_ERR_TEXT_BYTES 384

/* One failure: where it was noticed first, and what each caller on the way was doing.
 * `text` reads from the outside in: "open store users: read extent 7: read 4096 bytes at
 * 8192: Input/output error". Owned by the caller; no pointers inside; copy freely. */
struct sop_err {
    int code;         /* one of enum sop_err_code, 0 when unused */
    int sys;          /* errno, or 0 */
    const char *file; /* source file that noticed first; static storage */
    int line;
    char text[SOP_ERR_TEXT_BYTES];
};

/* Class, symbolic name ("CONFLICT") and table text of a code. Unknown codes give FATAL,
 * "?" and a text that says so. Static storage; any thread. */
SOP_API enum sop_err_class sop_err_class(int code);
SOP_API const char *sop_err_name(int code);
SOP_API const char *sop_err_text(int code);

/* Fills *err (if not NULL) as the first one who notices, and returns code.
 * sys: errno or 0; its text is appended. Use through the macro SOP_ERR. */
SOP_API int sop_err_set(struct sop_err *err, int code, int sys, const char *file, int line,
                        const char *fmt, ...) SOP_PRINTF(6, 7);
/* Puts "<fmt>: " in front of err->text; returns code unchanged. */
SOP_API int sop_err_wrap(struct sop_err *err, int code, const char *fmt, ...) SOP_PRINTF(3, 4);

#define SOP_ERR(err, code, ...)                                                                \
    sop_err_set(err, SOP_ERR_##code, 0, __FILE__, __LINE__, __VA_ARGS__)
#define SOP_ERR_SYS(err, code, sys, ...)                                                       \
    sop_err_set(err, SOP_ERR_##code, sys, __FILE__, __LINE__, __VA_ARGS__)

#ifdef __cplusplus
}
#endif
#endif
