/* The engines that were built in; CMake says which of the peers it found. */
#include "bench/engine.h"

extern const struct bench_engine bench_sop, bench_lmdb, bench_rocksdb, bench_leveldb,
    bench_sqlite, bench_wiredtiger, bench_journal, bench_memory;

#ifdef BENCH_HAS_LMDB
#define LMDB true
#else
#define LMDB false
#endif
#ifdef BENCH_HAS_ROCKSDB
#define ROCKSDB true
#else
#define ROCKSDB false
#endif
#ifdef BENCH_HAS_LEVELDB
#define LEVELDB true
#else
#define LEVELDB false
#endif
#ifdef BENCH_HAS_SQLITE
#define SQLITE true
#else
#define SQLITE false
#endif
#ifdef BENCH_HAS_WIREDTIGER
#define WIREDTIGER true
#else
#define WIREDTIGER false
#endif

const struct bench_engine *const bench_engines[] = {
    &bench_sop,
#ifdef BENCH_HAS_LMDB
    &bench_lmdb,
#endif
#ifdef BENCH_HAS_ROCKSDB
    &bench_rocksdb,
#endif
#ifdef BENCH_HAS_LEVELDB
    &bench_leveldb,
#endif
#ifdef BENCH_HAS_SQLITE
    &bench_sqlite,
#endif
#ifdef BENCH_HAS_WIREDTIGER
    &bench_wiredtiger,
#endif
    &bench_journal,    &bench_memory, NULL,
};

const struct bench_known bench_known[] = {
    {"sop", true, ""},
    {"lmdb", LMDB, "liblmdb-dev"},
    {"rocksdb", ROCKSDB, "librocksdb-dev"},
    {"leveldb", LEVELDB, "libleveldb-dev"},
    {"sqlite", SQLITE, "libsqlite3-dev"},
    {"wiredtiger", WIREDTIGER, "libwiredtiger-dev"},
    {"journal", true, ""},
    {"memory", true, ""},
};
const size_t bench_known_count = sizeof bench_known / sizeof bench_known[0];
