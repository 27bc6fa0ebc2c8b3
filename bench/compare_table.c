/* The comparison as text: one block per row, one line per engine. */
#include "bench/compare.h"

#include <inttypes.h>

static void print_time(uint64_t ns)
{
    if (ns == 0) {
        printf(" %9s", "-");
    } else if (ns < 10000000) {
        printf(" %7.1fus", (double)ns / 1e3);
    } else {
        printf(" %7.1fms", (double)ns / 1e6);
    }
}

static double megabytes(uint64_t bytes)
{
    return (double)bytes / 1e6;
}

static void print_rate(double rate)
{
    if (rate >= 1e6) {
        printf(" %9.3fM", rate / 1e6);
    } else if (rate >= 1e4) {
        printf(" %9.1fk", rate / 1e3);
    } else {
        printf(" %10.2f", rate);
    }
}

static void print_engine(const struct bench_engine *e, const struct bench_summary *s)
{
    const struct bench_result *r = &s->median;
    char spread[32];
    snprintf(spread, sizeof spread, "-%.0f/+%.0f%%",
             r->rate > 0 ? (1 - s->least / r->rate) * 100 : 0,
             r->rate > 0 ? (s->most / r->rate - 1) * 100 : 0);
    printf("  %s%-11s", e->bound ? "=" : " ", e->name);
    print_rate(r->rate);
    printf(" %9s", spread);
    print_time(r->p50_ns);
    print_time(r->p99_ns);
    printf(" %8.2f %9.3f %8.1f %8.1f %8.1f %8.1f %8.1f %8.1f", r->cpu_seconds, bench_cpu_us(r),
           megabytes(r->written_bytes), megabytes(r->settled_bytes),
           megabytes(r->device_written_bytes), megabytes(r->read_bytes),
           megabytes(r->file_bytes), megabytes(r->peak_bytes));
    printf("%s\n", !s->verified ? "  WRONG" : "");
}

static void print_verdict(const struct bench_report *report, enum bench_row row)
{
    const struct bench_row_info *info = &bench_rows[row];
    struct bench_verdict v;
    bench_judge(&v, report, row);
    if (v.peer_ratio > 0) {
        printf("  %.2f x %s", v.peer_ratio, v.peer->name);
        if (info->peer_bar > 0) {
            printf(" (bar %.2f)", info->peer_bar);
        }
        printf(", by CPU time %.2f x", v.cpu_ratio);
    }
    if (v.bound_ratio > 0) {
        printf("  %.2f x the bound '%s'", v.bound_ratio, bench_bound_names[info->bound]);
        if (info->bound_bar > 0) {
            printf(" (bar %.2f)", info->bound_bar);
        }
    }
    if (v.read_ratio > 0) {
        printf("  reads %.2f x the bytes of the thriftiest (most %.2f)", v.read_ratio,
               info->read_bar);
    }
    if (v.write_ratio > 0) {
        printf("  device: %.2f x the bytes of the thriftiest (most %.2f; not judged)",
               v.write_ratio, info->write_bar);
    }
    if (v.has_bar) {
        printf("  %s", v.pass ? "PASS" : "below");
    }
    printf("\n");
}

static void print_other(const char *when, const char *settings, const char *usual)
{
    if (settings != usual) {
        printf("      %s: %s\n", when, settings);
    }
}

static void print_settings(const struct bench_report *report)
{
    const struct bench_plan *plan = report->plan;
    printf("%" PRIu64 " items of 16 + 100 bytes, cache %" PRIu64
           " MiB, %u run%s in turns%s, in "
           "%s\n",
           plan->items, plan->cache_bytes >> 20, plan->runs, plan->runs == 1 ? "" : "s",
           plan->quick ? ", quick" : "", plan->dir);
    for (size_t i = 0; i < plan->engines_count; i++) {
        const struct bench_engine *e = plan->engines[i];
        struct bench_setup s = {.durable = true, .cache_bytes = plan->cache_bytes};
        printf("  %s%s %s: %s\n", e->bound ? "=" : "", e->name, e->version(), e->describe(&s));
        const char *usual = e->describe(&s);
        struct bench_setup ordered = s, cold = s, relaxed = s;
        ordered.ordered = true;
        cold.cold = true;
        relaxed.durable = false;
        print_other("loads in key order", e->describe(&ordered), usual);
        print_other("cold reads", e->describe(&cold), usual);
        print_other("relaxed", e->describe(&relaxed), usual);
    }
    for (size_t i = 0; i < bench_known_count; i++) {
        if (!bench_known[i].built) {
            printf("  %s: missing; install %s and configure again\n", bench_known[i].name,
                   bench_known[i].package);
        }
    }
    printf(
        "  = is a bound, no database. rate: median, and how far the runs lie around it. CPU "
        "us/1: "
        "CPU time of one of what the rate\n  counts. MB wr: written by the process while timed "
        "(kernels with large folios count too much); later: until at rest;\n  dev: written to "
        "the "
        "disk by anybody until then; rd: read; mem: peak above that of the empty process.\n");
}

void bench_print(const struct bench_report *report)
{
    print_settings(report);
    for (enum bench_row row = 0; row < BENCH_ROWS; row++) {
        bool any = false;
        for (size_t i = 0; i < report->plan->engines_count; i++) {
            any = any || report->of[row][i].runs > 0;
        }
        if (!any || !report->plan->wanted[row]) {
            continue;
        }
        printf("\n%s: %s, %s\n", bench_rows[row].id, bench_rows[row].title,
               bench_units[bench_rows[row].unit]);
        printf("  %-12s %10s %9s %9s %9s %8s %9s %8s %8s %8s %8s %8s %8s\n", "", "rate",
               "spread", "p50", "p99", "CPU s", "CPU us/1", "MB wr", "MB later", "MB dev",
               "MB rd", "MB files", "MB mem");
        for (size_t i = 0; i < report->plan->engines_count; i++) {
            if (report->of[row][i].runs > 0) {
                print_engine(report->plan->engines[i], &report->of[row][i]);
            }
        }
        print_verdict(report, row);
    }
    if (report->failures > 0) {
        printf("\n%u runs failed; see above\n", report->failures);
    }
}
