/* The comparison as JSON. */
#include "bench/compare.h"

static json_t *number(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *summary(const struct bench_engine *e, const struct bench_summary *s)
{
    const struct bench_result *r = &s->median;
    json_t *j = json_pack("{s:f, s:f, s:f, s:i}", "rate", r->rate, "least", s->least, "most",
                          s->most, "runs", (int)s->runs);
    /* What cannot be read cannot be verified. */
    json_object_set_new(j, "verified",
                        (e->can & BENCH_READS) != 0 ? json_boolean(s->verified) : json_null());
    json_object_set_new(j, "ops", number(r->ops));
    json_object_set_new(j, "amount", number(r->amount));
    json_object_set_new(j, "cpu_us_each", json_real(bench_cpu_us(r)));
    json_object_set_new(j, "ns", number(r->ns));
    json_object_set_new(j, "p50_ns", number(r->p50_ns));
    json_object_set_new(j, "p99_ns", number(r->p99_ns));
    json_object_set_new(j, "cpu_seconds", json_real(r->cpu_seconds));
    json_object_set_new(j, "written_bytes", number(r->written_bytes));
    json_object_set_new(j, "settled_bytes", number(r->settled_bytes));
    json_object_set_new(j, "read_bytes", number(r->read_bytes));
    json_object_set_new(j, "device_written_bytes", number(r->device_written_bytes));
    json_object_set_new(j, "device_read_bytes", number(r->device_read_bytes));
    json_object_set_new(j, "file_bytes", number(r->file_bytes));
    json_object_set_new(j, "peak_bytes", number(r->peak_bytes));
    return j;
}

static json_t *row_json(const struct bench_report *report, enum bench_row row)
{
    const struct bench_row_info *info = &bench_rows[row];
    struct bench_verdict v;
    json_t *engines = json_object();
    for (size_t i = 0; i < report->plan->engines_count; i++) {
        if (report->of[row][i].runs > 0) {
            const struct bench_engine *e = report->plan->engines[i];
            json_object_set_new(engines, e->name, summary(e, &report->of[row][i]));
        }
    }
    bench_judge(&v, report, row);
    json_t *j = json_pack("{s:s, s:s, s:s, s:o}", "id", info->id, "title", info->title, "unit",
                          bench_units[info->unit], "engines", engines);
    if (v.peer != NULL) {
        json_object_set_new(j, "best_peer", json_string(v.peer->name));
    }
    if (v.peer_ratio > 0) {
        json_object_set_new(j, "peer_ratio", json_real(v.peer_ratio));
    }
    if (v.cpu_ratio > 0) {
        json_object_set_new(j, "cpu_ratio", json_real(v.cpu_ratio));
    }
    if (v.bound_ratio > 0) {
        json_object_set_new(j, "bound", json_string(bench_bound_names[info->bound]));
        json_object_set_new(j, "bound_ratio", json_real(v.bound_ratio));
    }
    if (v.read_ratio > 0) {
        json_object_set_new(j, "read_ratio", json_real(v.read_ratio));
        json_object_set_new(j, "read_bar", json_real(info->read_bar));
    }
    if (v.write_ratio > 0) {
        json_object_set_new(j, "device_written_ratio", json_real(v.write_ratio));
        json_object_set_new(j, "device_written_bar", json_real(info->write_bar));
    }
    if (info->peer_bar > 0) {
        json_object_set_new(j, "peer_bar", json_real(info->peer_bar));
    }
    if (info->bound_bar > 0) {
        json_object_set_new(j, "bound_bar", json_real(info->bound_bar));
    }
    if (v.has_bar) {
        json_object_set_new(j, "verdict", json_string(v.pass ? "PASS" : "below"));
    }
    return j;
}

static json_t *engine_json(const struct bench_plan *plan, const struct bench_engine *e)
{
    struct bench_setup s = {.durable = true, .cache_bytes = plan->cache_bytes};
    json_t *j = json_pack("{s:s, s:b, s:s, s:s}", "name", e->name, "bound", (int)e->bound,
                          "version", e->version(), "durable", e->describe(&s));
    s.ordered = true;
    json_object_set_new(j, "ordered", json_string(e->describe(&s)));
    s.ordered = false;
    s.cold = true;
    json_object_set_new(j, "cold", json_string(e->describe(&s)));
    s.cold = false;
    s.durable = false;
    json_object_set_new(j, "relaxed", json_string(e->describe(&s)));
    return j;
}

json_t *bench_report_json(const struct bench_report *report)
{
    const struct bench_plan *plan = report->plan;
    json_t *engines = json_array(), *missing = json_array(), *rows = json_array();
    for (size_t i = 0; i < plan->engines_count; i++) {
        json_array_append_new(engines, engine_json(plan, plan->engines[i]));
    }
    for (size_t i = 0; i < bench_known_count; i++) {
        if (!bench_known[i].built) {
            json_array_append_new(missing, json_string(bench_known[i].name));
        }
    }
    for (enum bench_row row = 0; row < BENCH_ROWS; row++) {
        if (plan->wanted[row]) {
            json_array_append_new(rows, row_json(report, row));
        }
    }
    json_t *j = json_pack("{s:s, s:I, s:i, s:I, s:b}", "version", sop_version(), "items",
                          (json_int_t)plan->items, "runs", (int)plan->runs, "cache_bytes",
                          (json_int_t)plan->cache_bytes, "quick", (int)plan->quick);
    json_object_set_new(j, "failures", number(report->failures));
    json_object_set_new(j, "engines", engines);
    json_object_set_new(j, "missing", missing);
    json_object_set_new(j, "rows", rows);
    return j;
}
