/* Progress on stderr: one bar that is redrawn on a terminal, plain lines elsewhere. */
#include "cli/ctl.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define TTY_EVERY_NS  UINT64_C(100000000)
#define LINE_EVERY_NS UINT64_C(5000000000)
#define BAR_CELLS     30

void sop_ctl__progress_init(struct sop_ctl_progress *p, const struct sop_ctl *ctl,
                            const char *what, const char *unit)
{
    memset(p, 0, sizeof *p);
    p->what = what;
    p->unit = unit;
    p->on = !ctl->args->given[OPT_QUIET];
    p->tty = isatty(STDERR_FILENO) != 0;
    p->began_ns = sop_ctl__now_ns();
    p->shown_ns = p->began_ns;
}

static void amount(char *to, size_t bytes, double n, const char *unit)
{
    bool size = strcmp(unit, "B") == 0;
    double step = size ? 1024 : 1000;
    static const char *const powers[] = {"", "k", "M", "G", "T"};
    size_t p = 0;
    while (n >= step * 10 && p < 4) {
        n /= step;
        p++;
    }
    snprintf(to, bytes, "%.*f %s%s", p > 0 && n < 100 ? 1 : 0, n, powers[p], unit);
}

static void show(struct sop_ctl_progress *p, uint64_t done, uint64_t total, uint64_t now)
{
    double seconds = (double)(now - p->began_ns) / 1e9;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    char have[32], speed[32];
    amount(have, sizeof have, (double)done, p->unit);
    amount(speed, sizeof speed, rate, p->unit);
    p->shown = true;
    p->shown_ns = now;
    if (!p->tty) {
        if (total > 0) {
            fprintf(stderr, "%s: %.0f%%, %s, %s/s\n", p->what,
                    100.0 * (double)done / (double)total, have, speed);
        } else {
            fprintf(stderr, "%s: %s, %s/s\n", p->what, have, speed);
        }
        return;
    }
    fprintf(stderr, "\r\033[K%s ", p->what);
    if (total > 0) {
        double part = done < total ? (double)done / (double)total : 1;
        int full = (int)(part * BAR_CELLS);
        fputc('[', stderr);
        for (int i = 0; i < BAR_CELLS; i++) {
            fputc(i < full ? '#' : '.', stderr);
        }
        double left = rate > 0 && done < total ? (double)(total - done) / rate : 0;
        char rest[32];
        sop_out__duration(rest, sizeof rest, left < 1 ? 1 : left);
        fprintf(stderr, "] %3.0f%% %s %s/s %s left", part * 100, have, speed, rest);
    } else {
        fprintf(stderr, "%s %s/s", have, speed);
    }
    fflush(stderr);
}

void sop_ctl__progress(struct sop_ctl_progress *p, uint64_t done, uint64_t total)
{
    if (!p->on) {
        return;
    }
    uint64_t now = sop_ctl__now_ns();
    if (now - p->shown_ns >= (p->tty ? TTY_EVERY_NS : LINE_EVERY_NS)) {
        show(p, done, total, now);
    }
}

void sop_ctl__progress_end(struct sop_ctl_progress *p)
{
    if (p->on && p->tty && p->shown) {
        fprintf(stderr, "\r\033[K");
        fflush(stderr);
    }
}

int sop_ctl__progress_fn(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct sop_ctl_progress *p = arg;
    if (what != NULL) {
        p->what = what;
    }
    sop_ctl__progress(p, done, total);
    return 0;
}
