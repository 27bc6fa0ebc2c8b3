/* From runs to medians, from medians to ratios. */
#include "bench/compare.h"

#include <stdlib.h>

static int by_rate(const void *a, const void *b)
{
    double x = ((const struct bench_result *)a)->rate,
           y = ((const struct bench_result *)b)->rate;
    return (x > y) - (x < y);
}

void bench_summarize(struct bench_summary *to, const struct bench_result *runs, size_t count,
                     enum bench_row row)
{
    struct bench_result *there = calloc(count + 1, sizeof *there);
    size_t n = 0;
    memset(to, 0, sizeof *to);
    to->verified = true;
    for (size_t i = 0; there != NULL && i < count; i++) {
        const struct bench_result *r = &runs[i * BENCH_ROWS + row];
        if (r->there) {
            there[n++] = *r;
            to->verified = to->verified && r->verified;
        }
    }
    if (n > 0) {
        qsort(there, n, sizeof *there, by_rate);
        to->median = there[n / 2];
        to->least = there[0].rate;
        to->most = there[n - 1].rate;
        to->runs = (unsigned)n;
    }
    free(there);
}

double bench_cpu_us(const struct bench_result *r)
{
    return r->amount > 0 ? r->cpu_seconds * 1e6 / (double)r->amount : 0;
}

/* How many times better the first rate is. */
static double ratio(enum bench_row row, double mine, double other)
{
    if (mine <= 0 || other <= 0) {
        return 0;
    }
    return bench_rows[row].unit == BENCH_MILLISECONDS ? other / mine : mine / other;
}

static const struct bench_summary *summary_of(const struct bench_report *report,
                                              enum bench_row row, const char *name)
{
    for (size_t i = 0; i < report->plan->engines_count; i++) {
        if (strcmp(report->plan->engines[i]->name, name) == 0) {
            return report->of[row][i].runs > 0 ? &report->of[row][i] : NULL;
        }
    }
    return NULL;
}

static double bytes_each(const struct bench_result *r, bool written)
{
    uint64_t bytes = written ? r->device_written_bytes : r->read_bytes;
    return r->ops > 0 ? (double)bytes / (double)r->ops : 0;
}

static bool is_peer(const struct bench_report *report, enum bench_row row, size_t engine)
{
    const struct bench_engine *e = report->plan->engines[engine];
    const struct bench_summary *s = &report->of[row][engine];
    return !e->bound && strcmp(e->name, "sop") != 0 && s->runs > 0 && s->verified;
}

/* SOP's bytes of one operation by those of the peer that needs least. */
static double bytes_ratio(const struct bench_report *report, enum bench_row row,
                          const struct bench_summary *sop, bool written)
{
    double least = 0;
    for (size_t i = 0; i < report->plan->engines_count; i++) {
        double each = bytes_each(&report->of[row][i].median, written);
        if (is_peer(report, row, i) && each > 0 && (least == 0 || each < least)) {
            least = each;
        }
    }
    return least > 0 ? bytes_each(&sop->median, written) / least : 0;
}

static bool passes(const struct bench_row_info *info, struct bench_verdict *v)
{
    bool peer_bar = info->peer_bar > 0 && v->peer_ratio > 0;
    bool bound_bar = info->bound_bar > 0 && v->bound_ratio > 0;
    bool read_bar = info->read_bar > 0 && v->read_ratio > 0;
    v->has_bar = peer_bar || bound_bar || read_bar;
    return (!peer_bar || v->peer_ratio >= info->peer_bar) &&
           (!bound_bar || v->bound_ratio >= info->bound_bar) &&
           (!read_bar || v->read_ratio <= info->read_bar);
}

void bench_judge(struct bench_verdict *v, const struct bench_report *report, enum bench_row row)
{
    const struct bench_row_info *info = &bench_rows[row];
    const struct bench_summary *sop = summary_of(report, row, "sop");
    memset(v, 0, sizeof *v);
    double best = 0, best_cpu = 0;
    for (size_t i = 0; i < report->plan->engines_count; i++) {
        const struct bench_engine *e = report->plan->engines[i];
        const struct bench_summary *s = &report->of[row][i];
        bool peer =
            is_peer(report, row, i) && (info->peer == NULL || strcmp(info->peer, e->name) == 0);
        if (peer && (best == 0 || ratio(row, s->median.rate, best) > 1)) {
            best = s->median.rate;
            best_cpu = bench_cpu_us(&s->median);
            v->peer = e;
        }
    }
    const struct bench_summary *bound =
        info->bound != BENCH_NO_BOUND ? summary_of(report, row, bench_bound_names[info->bound])
                                      : NULL;
    v->peer_rate = best;
    if (sop == NULL) {
        return;
    }
    v->peer_ratio = ratio(row, sop->median.rate, best);
    double cpu = bench_cpu_us(&sop->median);
    v->cpu_ratio = v->peer != NULL && cpu > 0 ? best_cpu / cpu : 0;
    v->bound_ratio = bound != NULL ? ratio(row, sop->median.rate, bound->median.rate) : 0;
    v->read_ratio = info->read_bar > 0 ? bytes_ratio(report, row, sop, false) : 0;
    v->write_ratio = info->write_bar > 0 ? bytes_ratio(report, row, sop, true) : 0;
    v->pass = passes(info, v) && sop->verified;
}
