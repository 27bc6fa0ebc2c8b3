/* The comparison as a picture: one line per row, one mark per engine, on a logarithmic scale of
 * its rate by that of the best peer. */
#include "bench/compare.h"

#include <errno.h>
#include <math.h>

#define LINE        24
#define TOP         96
#define LEFT        330
#define WIDTH       560
#define RIGHT       150
#define RATIO_LEAST 0.03
#define RATIO_MOST  10.0

struct mark {
    const char *name, *colour;
};
static const struct mark marks[] = {
    {"sop", "#d62728"},     {"lmdb", "#1f77b4"},   {"rocksdb", "#2ca02c"},
    {"leveldb", "#9467bd"}, {"sqlite", "#8c564b"}, {"wiredtiger", "#e6a000"},
    {"journal", "#555555"}, {"memory", "#999999"},
};

static const char *colour_of(const struct bench_engine *e)
{
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        if (strcmp(marks[i].name, e->name) == 0) {
            return marks[i].colour;
        }
    }
    return "#000000";
}

static double x_of(double ratio)
{
    double r = ratio < RATIO_LEAST ? RATIO_LEAST : ratio > RATIO_MOST ? RATIO_MOST : ratio;
    return LEFT + WIDTH * log(r / RATIO_LEAST) / log(RATIO_MOST / RATIO_LEAST);
}

static void draw_mark(FILE *f, const struct bench_engine *e, double x, double y, double rate,
                      const char *unit)
{
    const char *colour = colour_of(e);
    if (e->bound) {
        fprintf(f,
                "<path d=\"M%.1f %.1f v12\" stroke=\"%s\" stroke-width=\"2\" "
                "stroke-dasharray=\"%s\">",
                x, y - 6, colour, strcmp(e->name, "journal") == 0 ? "3 2" : "none");
        fprintf(f, "<title>%s %.4g %s</title></path>\n", e->name, rate, unit);
        return;
    }
    bool sop = strcmp(e->name, "sop") == 0;
    fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\" fill=\"%s\" fill-opacity=\"%s\">", x,
            y, sop ? "6" : "4", colour, sop ? "1" : "0.75");
    fprintf(f, "<title>%s %.4g %s</title></circle>\n", e->name, rate, unit);
}

static void draw_axis(FILE *f, double bottom)
{
    static const double ticks[] = {0.03, 0.1, 0.3, 1, 3, 10};
    for (size_t i = 0; i < sizeof ticks / sizeof ticks[0]; i++) {
        double x = x_of(ticks[i]);
        fprintf(f, "<path d=\"M%.1f %d V%.1f\" stroke=\"%s\"/>\n", x, TOP - 14, bottom,
                ticks[i] == 1 ? "#888" : "#ddd");
        fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%gx</text>\n", x, TOP - 18,
                ticks[i]);
    }
}

static void draw_legend(FILE *f, const struct bench_plan *plan)
{
    double x = 10;
    fprintf(f, "<text x=\"10\" y=\"20\" font-size=\"15\">Speed by that of the best peer "
               "(right is faster; scale is logarithmic)</text>\n");
    for (size_t i = 0; i < plan->engines_count; i++) {
        const struct bench_engine *e = plan->engines[i];
        draw_mark(f, e, x + 6, 40, 0, "");
        fprintf(f, "<text x=\"%.1f\" y=\"44\">%s%s</text>\n", x + 16, e->name,
                e->bound ? " (bound)" : "");
        x += 40 + 8.0 * (double)(strlen(e->name) + (e->bound ? 8 : 0));
    }
    fprintf(f,
            "<path d=\"M%.1f 34 v12\" stroke=\"#000\" stroke-width=\"3\"/>"
            "<text x=\"%.1f\" y=\"44\">bar</text>\n",
            x + 6, x + 16);
}

static void draw_row(FILE *f, const struct bench_report *report, enum bench_row row, double y)
{
    const struct bench_row_info *info = &bench_rows[row];
    struct bench_verdict v;
    bench_judge(&v, report, row);
    fprintf(f, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", LEFT - 12, y + 4,
            info->title);
    fprintf(f, "<path d=\"M%d %.1f h%d\" stroke=\"#eee\"/>\n", LEFT, y, WIDTH);
    double best = v.peer_rate;
    for (size_t i = 0; i < report->plan->engines_count && best > 0; i++) {
        const struct bench_summary *s = &report->of[row][i];
        if (s->runs > 0 && s->median.rate > 0) {
            double ratio = info->unit == BENCH_MILLISECONDS ? best / s->median.rate
                                                            : s->median.rate / best;
            draw_mark(f, report->plan->engines[i], x_of(ratio), y, s->median.rate,
                      bench_units[info->unit]);
        }
    }
    if (info->peer_bar > 0) {
        fprintf(f, "<path d=\"M%.1f %.1f v12\" stroke=\"#000\" stroke-width=\"3\"/>\n",
                x_of(info->peer_bar), y - 6);
    }
    if (v.peer_ratio > 0) {
        fprintf(f, "<text x=\"%d\" y=\"%.1f\" fill=\"%s\">%.2fx %s</text>\n", LEFT + WIDTH + 12,
                y + 4,
                !v.has_bar ? "#444"
                : v.pass   ? "#060"
                           : "#b00",
                v.peer_ratio,
                !v.has_bar ? ""
                : v.pass   ? "pass"
                           : "below");
    }
}

int bench_svg(const struct bench_report *report, const char *path, struct sop_err *err)
{
    FILE *f = fopen(path, "w");
    if (f == NULL) {
        return SOP_ERR(err, IO, "write '%s': %s", path, strerror(errno));
    }
    unsigned rows = 0;
    for (enum bench_row row = 0; row < BENCH_ROWS; row++) {
        rows += report->plan->wanted[row];
    }
    int height = TOP + LINE * (int)rows + 10;
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
            LEFT + WIDTH + RIGHT, height);
    draw_legend(f, report->plan);
    draw_axis(f, height - 10);
    double y = TOP + LINE / 2.0 - 6;
    for (enum bench_row row = 0; row < BENCH_ROWS; row++) {
        if (report->plan->wanted[row]) {
            draw_row(f, report, row, y);
            y += LINE;
        }
    }
    fprintf(f, "</svg>\n");
    bool bad = ferror(f) != 0;
    return fclose(f) != 0 || bad ? SOP_ERR(err, IO, "write '%s'", path) : 0;
}
