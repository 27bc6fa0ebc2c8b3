/* Headings, bars and numbers of the demo. Plain lines when the output is not a terminal. */
#include "examples/demo/demo.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool is_terminal(void)
{
    return isatty(STDOUT_FILENO) != 0;
}

double demo_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

const char *demo_number(uint64_t n)
{
    static char buffers[8][32];
    static unsigned turn;
    char *to = buffers[turn++ % 8];
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, n);
    char *at = to;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0) {
            *at++ = ',';
        }
        *at++ = digits[i];
    }
    *at = '\0';
    return to;
}

void demo_heading(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs(is_terminal() ? "\n\033[1m" : "\n", stdout);
    vprintf(format, args);
    fputs(is_terminal() ? "\033[0m\n" : "\n", stdout);
    va_end(args);
    fflush(stdout);
}

void demo_progress(const char *what, uint64_t done, uint64_t total)
{
    enum { CELLS = 40 };
    if (!is_terminal()) {
        return;
    }
    int full = total > 0 ? (int)(done * CELLS / total) : 0;
    printf("\r\033[K  %-10s [", what);
    for (int i = 0; i < CELLS; i++) {
        fputc(i < full ? '#' : '.', stdout);
    }
    printf("] %3.0f%%  %s", total > 0 ? 100.0 * (double)done / (double)total : 0.0,
           demo_number(done));
    fflush(stdout);
}

void demo_done(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs(is_terminal() ? "\r\033[K  " : "  ", stdout);
    vprintf(format, args);
    fputc('\n', stdout);
    va_end(args);
    fflush(stdout);
}
