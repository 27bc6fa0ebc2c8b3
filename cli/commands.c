/* The table of sopctl: every option and command with its help. The parser, --help, completion
 * and the man page are made from it. */
#include "cli/ctl.h"

static const struct sop_arg_option options[OPT_COUNT] = {
    [OPT_DB] = {"db", 'd', SOP_ARG_FILE, "PATH", NULL,
                "folder of the database; otherwise the environment variable SOP_DB"},
    [OPT_OUTPUT] = {"output", 'o', SOP_ARG_CHOICE, "FORMAT", "table|json|ndjson|raw",
                    "how results and errors are printed (default table)"},
    [OPT_DURABILITY] =
        {"durability", 0, SOP_ARG_CHOICE, "LEVEL", "commit|interval|none",
         "what an acknowledged commit survives: power loss (commit, default), "
         "kill -9 and power loss but for the last 100 ms (interval), kill -9 (none)"},
    [OPT_CACHE] = {"cache", 0, SOP_ARG_BYTES, "BYTES", NULL,
                   "memory for pages and dirty data (default 256M)"},
    [OPT_QUIET] = {"quiet", 'q', SOP_ARG_FLAG, NULL, NULL, "no progress and no closing line"},
    [OPT_KEY] =
        {"key", 'k', SOP_ARG_TEXT, "SCHEMA", NULL,
         "types of the key's fields, separated by commas, each with '?' if it may be null and "
         "'desc' if descending: int64 uint64 double string bytes bool uuid timestamp any; "
         "default raw bytes"},
    [OPT_DUPLICATES] = {"duplicates", 0, SOP_ARG_FLAG, NULL, NULL,
                        "let a key have many items, in the order of insertion"},
    [OPT_SLOT_LENGTH] = {"slot-length", 0, SOP_ARG_COUNT, "ITEMS", NULL,
                         "most items of a page, even, 2 to 20000 (default 2000)"},
    [OPT_VALUES] =
        {"values", 0, SOP_ARG_CHOICE, "CLASS", "small|medium|big",
         "where values live: in the page, each in its own record, or streamed and not "
         "cached (default small)"},
    [OPT_DESCRIPTION] = {"description", 0, SOP_ARG_TEXT, "TEXT", NULL,
                         "what the store holds, for people"},
    [OPT_BLOB_KEY] = {"blob-key", 0, SOP_ARG_TEXT, "NAME", NULL,
                      "redundancy entry of its values in packs"},
    [OPT_CUSTOM] = {"custom", 0, SOP_ARG_TEXT, "TEXT", NULL,
                    "data of your own kept with the store"},
    [OPT_CACHE_PAGE] = {"cache-page-seconds", 0, SOP_ARG_COUNT, "S", NULL,
                        "how long pages are worth keeping in shared caches (0 = while there is "
                        "room)"},
    [OPT_CACHE_VALUE] = {"cache-value-seconds", 0, SOP_ARG_COUNT, "S", NULL,
                         "the same for values"},
    [OPT_CACHE_INFO] = {"cache-info-seconds", 0, SOP_ARG_COUNT, "S", NULL,
                        "the same for facts of the store"},
    [OPT_ADD] =
        {"add", 0, SOP_ARG_FLAG, NULL, NULL,
         "insert only: an existing key is refused (unique stores) or gets one more item"},
    [OPT_UPDATE] = {"update", 0, SOP_ARG_FLAG, NULL, NULL,
                    "change only: an absent key is refused"},
    [OPT_IF_ABSENT] = {"if-absent", 0, SOP_ARG_FLAG, NULL, NULL,
                       "insert if no item has the key, otherwise leave it alone"},
    [OPT_RIDE] = {"ride", 0, SOP_ARG_TEXT, "TEXT", NULL,
                  "ride-on bytes: stored beside the key, read without the value"},
    [OPT_WITH_RIDE] = {"with-ride", 0, SOP_ARG_FLAG, NULL, NULL,
                       "a column for the ride-on bytes in CSV"},
    [OPT_FILE] =
        {"file", 'f', SOP_ARG_FILE, "FILE", NULL,
         "take the value from this file, '-' for standard input; streamed, up to 1 GiB"},
    [OPT_ENCODING] = {"encoding", 'e', SOP_ARG_CHOICE, "CODE", "text|hex|base64",
                      "how raw keys, values and rides are written on the command line and, by "
                      "get and scan, in tables; json and ndjson say what is not text as "
                      "{\"base64\":\"...\"} and raw prints the bytes in any case"},
    [OPT_ALL] = {"all", 'a', SOP_ARG_FLAG, NULL, NULL,
                 "every item of the key, not just the first"},
    [OPT_FROM] = {"from", 0, SOP_ARG_TEXT, "KEY", NULL, "begin at this key"},
    [OPT_AFTER] = {"after", 0, SOP_ARG_TEXT, "KEY", NULL, "begin after this key"},
    [OPT_TO] = {"to", 0, SOP_ARG_TEXT, "KEY", NULL, "end before this key"},
    [OPT_THROUGH] = {"through", 0, SOP_ARG_TEXT, "KEY", NULL, "end with this key"},
    [OPT_PREFIX] =
        {"prefix", 'p', SOP_ARG_TEXT, "KEY", NULL,
         "only keys that begin so: the first fields of a composite key, or the first "
         "characters of a raw or string key"},
    [OPT_REVERSE] = {"reverse", 'r', SOP_ARG_FLAG, NULL, NULL, "from the last to the first"},
    [OPT_LIMIT] = {"limit", 'n', SOP_ARG_COUNT, "N", NULL, "at most N items"},
    [OPT_POSITION] = {"position", 0, SOP_ARG_COUNT, "N", NULL,
                      "begin at item number N of the store in key order (0 = first)"},
    [OPT_KEYS_ONLY] = {"keys-only", 0, SOP_ARG_FLAG, NULL, NULL, "do not fetch the values"},
    [OPT_ESTIMATE] = {"estimate", 0, SOP_ARG_FLAG, NULL, NULL,
                      "the number that the store remembers, without a look at its pages"},
    [OPT_FORMAT] = {"format", 0, SOP_ARG_CHOICE, "FORMAT", "csv|ndjson",
                    "format of the file (default: by its name, ndjson for .ndjson, .jsonl and "
                    ".json, else csv)"},
    [OPT_BATCH] = {"batch", 0, SOP_ARG_COUNT, "N", NULL, "items of a commit (default 10000)"},
    [OPT_SKIP] =
        {"skip", 0, SOP_ARG_COUNT, "N", NULL,
         "leave out the first N items of the file: those that an earlier load committed"},
    [OPT_CREATE] = {"create", 0, SOP_ARG_FLAG, NULL, NULL,
                    "create the store if it is absent, with the options of store create"},
    [OPT_KEY_COLUMNS] =
        {"key-columns", 0, SOP_ARG_TEXT, "A,B", NULL,
         "columns (names or numbers from 1) or JSON members of the key's fields; "
         "default 'key'"},
    [OPT_VALUE_COLUMN] =
        {"value-column", 0, SOP_ARG_TEXT, "C", NULL,
         "column of the value; default 'value', or a JSON object of all columns "
         "but the key's"},
    [OPT_NO_HEADER] = {"no-header", 0, SOP_ARG_FLAG, NULL, NULL,
                       "the first line of the CSV is an item; columns have numbers only"},
    [OPT_ACKNOWLEDGED] = {"acknowledged", 0, SOP_ARG_FILE, "FILE", NULL,
                          "append to FILE, after each commit, how many items are committed"},
    [OPT_DEEP] = {"deep", 0, SOP_ARG_FLAG, NULL, NULL,
                  "read every record of every file, not only what is in use"},
    [OPT_READ_ONLY] = {"read-only", 0, SOP_ARG_FLAG, NULL, NULL,
                       "write nothing and take no lock: for backups, write-protected folders, "
                       "and beside a program that uses the database"},
    [OPT_PROCESSES] = {"processes", 0, SOP_ARG_COUNT, "N", NULL,
                       "processes that race for names (default 4)"},
    [OPT_HASH_MOD] = {"registry-hash-mod", 0, SOP_ARG_COUNT, "N", NULL,
                      "kept and shown for compatibility, otherwise ignored"},
    [OPT_MAX_BYTES] =
        {"max-bytes", 0, SOP_ARG_BYTES, "BYTES", NULL,
         "refuse commits that would make the files larger than this: with init of the "
         "database for good, otherwise during this command instead of that"},
    [OPT_TAKE_OVER] =
        {"take-over", 0, SOP_ARG_FLAG, NULL, NULL,
         "take the database over from an owner that is believed dead; safe, but its "
         "later commits fail"},
    [OPT_DRY_RUN] = {"dry-run", 0, SOP_ARG_FLAG, NULL, NULL,
                     "look and tell only: write nothing"},
};

#define RANGE                                                                                  \
    (OPT(FROM) | OPT(AFTER) | OPT(TO) | OPT(THROUGH) | OPT(PREFIX) | OPT(REVERSE) |            \
     OPT(LIMIT) | OPT(ENCODING))
#define STORE                                                                                  \
    (OPT(KEY) | OPT(DUPLICATES) | OPT(SLOT_LENGTH) | OPT(VALUES) | OPT(DESCRIPTION) |          \
     OPT(BLOB_KEY) | OPT(CUSTOM) | OPT(CACHE_PAGE) | OPT(CACHE_VALUE) | OPT(CACHE_INFO))
#define WRITES (OPT(MAX_BYTES) | OPT(TAKE_OVER))

static const struct sop_command commands[] = {
    {"init", "[PATH]", 0, 1, OPT(HASH_MOD) | OPT(MAX_BYTES),
     "make an empty database in a folder",
     "The folder is made if it is absent; a folder that holds other things is refused. An "
     "existing database is refused, so init never harms one.\n"
     "The limit of --max-bytes is part of the database for good, though each opening may have "
     "another: stats shows it, "
     "each opening may have another one (--max-bytes of the commands that write, max_bytes of "
     "the library), and a backup keeps it.",
     "sopctl init ./shop\nsopctl init --db ./shop\nsopctl init ./cache --max-bytes 2G",
     sop_ctl__init},
    {"store create", "STORE", 1, 1, STORE | WRITES, "create a store",
     "A store is one ordered set of items: key, ride-on bytes, value. Keys are raw bytes "
     "unless "
     "--key gives types; typed keys are written as text everywhere and sorted by their "
     "values.\n"
     "Fields of a composite key are separated by commas: --key int64,string takes keys such as "
     "20013,kDefinition.",
     "sopctl store create users --db ./shop\n"
     "sopctl store create facts --key int64,string --description 'code point, property'\n"
     "sopctl store create events --key 'timestamp desc' --duplicates",
     sop_ctl__store_create},
    {"store list", "[PATH]", 0, 1, 0, "list the stores of the database", NULL,
     "sopctl store list ./shop\nsopctl store list -o json", sop_ctl__store_list},
    {"store info", "STORE", 1, 1, 0, "show the options and the size of a store", NULL,
     "sopctl store info users --db ./shop", sop_ctl__store_info},
    {"store change", "STORE", 1, 1,
     WRITES | OPT(DESCRIPTION) | OPT(CUSTOM) | OPT(CACHE_PAGE) | OPT(CACHE_VALUE) |
         OPT(CACHE_INFO),
     "change description, custom data or cache times of a store",
     "What is not given stays as it is.",
     "sopctl store change users --description 'by e-mail address'", sop_ctl__store_change},
    {"store drop", "STORE", 1, 1, WRITES, "remove a store with all its items",
     "There is no question and no way back; take a backup first. Space is freed in the "
     "background.",
     "sopctl store drop users --db ./shop", sop_ctl__store_drop},
    {"put", "STORE KEY [VALUE]", 2, 3,
     WRITES | OPT(ADD) | OPT(UPDATE) | OPT(IF_ABSENT) | OPT(RIDE) | OPT(FILE) | OPT(ENCODING),
     "insert or change one item",
     "Without --add, --update or --if-absent an existing item is changed and an absent one "
     "inserted; in a store with duplicates only --add makes a second item of a key. The value "
     "is the argument, or a file with --file.",
     "sopctl put users alice '{\"age\": 31}' --db ./shop\n"
     "sopctl put pictures cat --file cat.png\n"
     "sopctl put facts 20013,kDefinition 'central; center'\n"
     "sopctl put keys 00ff10 deadbeef --encoding hex",
     sop_ctl__put},
    {"get", "STORE KEY", 2, 2, OPT(ALL) | OPT(ENCODING), "print the value of a key",
     "Prints the value and a newline; with --output raw the bytes of the value and nothing "
     "else; "
     "with json the item. Exit status 1 if the key is absent.",
     "sopctl get users alice --db ./shop\n"
     "sopctl get pictures cat -o raw > cat.png\n"
     "sopctl get tags blue --all -o ndjson",
     sop_ctl__get},
    {"del", "STORE KEY...", 2, SIZE_MAX, WRITES | OPT(ALL) | OPT(ENCODING),
     "delete items by key",
     "All of them in one commit: if one key is absent, nothing is deleted and the exit status "
     "is "
     "1. In a store with duplicates the first item of the key goes, with --all every one.",
     "sopctl del users alice bob --db ./shop\nsopctl del tags blue --all", sop_ctl__del},
    {"count", "STORE", 1, 1, RANGE | OPT(ESTIMATE), "count items",
     "The whole store is counted by the sums kept in its pages, a range by walking it.",
     "sopctl count users --db ./shop\nsopctl count facts --prefix 20013", sop_ctl__count},
    {"scan", "STORE", 1, 1, RANGE | OPT(POSITION) | OPT(KEYS_ONLY), "print items in key order",
     "A range begins with --from (that key and greater ones) or --after (greater ones only) "
     "and "
     "ends with --to (smaller ones only) or --through (that key too). All from one state of "
     "the "
     "database.",
     "sopctl scan users --limit 10 --db ./shop\n"
     "sopctl scan users --from a --to c --reverse\n"
     "sopctl scan facts --prefix 20013 -o json\n"
     "sopctl scan facts --position 1000000 --limit 3\n"
     "sopctl scan keys --prefix 00ff --encoding hex",
     sop_ctl__scan},
    {"load", "STORE [FILE]", 1, 2,
     STORE | WRITES | OPT(FORMAT) | OPT(BATCH) | OPT(SKIP) | OPT(CREATE) | OPT(KEY_COLUMNS) |
         OPT(VALUE_COLUMN) | OPT(NO_HEADER) | OPT(ADD) | OPT(IF_ABSENT) | OPT(ACKNOWLEDGED),
     "load items from CSV or NDJSON",
     "FILE absent or '-' is standard input. CSV has a header line; the column 'key' (of a "
     "composite key also 'key1', 'key2', ...) is the key and 'value' the value unless "
     "--key-columns and --value-column say otherwise. NDJSON is "
     "an object per line with 'key' and 'value', as dump writes it, or any objects with "
     "--key-columns. Of its values strings and {\"base64\":\"...\"} are decoded; all others, "
     "numbers too, are kept as they are written. A key is one such value, but no list or "
     "object; "
     "of a typed key of several fields it is a list of them. A member that would not be stored "
     "(none of key, value and ride) is refused, unless --value-column says which one is the "
     "value: then the others are left out.\n"
     "Existing keys are changed, unless --add refuses or --if-absent leaves "
     "them; a store with duplicates gets one item more for each of the file.\n"
     "Items are committed in batches; --create makes the store with the first one. After an "
     "error the message names the line and says how many items are committed; mend the line "
     "and go on with --skip and that number.",
     "sopctl load users users.csv --create --db ./shop\n"
     "sopctl load facts unihan.csv --create --key int64,string --key-columns code,property\n"
     "sopctl load users part2.ndjson --batch 50k\n"
     "zcat big.csv.gz | sopctl load users - --format csv",
     sop_ctl__load},
    {"dump", "STORE [FILE]", 1, 2, RANGE | OPT(FORMAT) | OPT(WITH_RIDE),
     "write items as CSV or NDJSON",
     "FILE absent or '-' is standard output. The format is that of --format, or by the name of "
     "the file, or ndjson with --output ndjson, else CSV. What load "
     "reads back gives the same items. CSV has the columns key (of a composite key "
     "key1, key2, ..., unless a field may be null or is of type any) and value, and ride "
     "between "
     "them with --with-ride; an item with ride-on bytes is refused without it. A file appears "
     "under "
     "its name when it is complete.",
     "sopctl dump users users.csv --db ./shop\n"
     "sopctl dump facts --prefix 20013 --format ndjson\n"
     "sopctl dump users --format ndjson | gzip > users.ndjson.gz",
     sop_ctl__dump},
    {"verify", "[PATH]", 0, 1, OPT(DEEP) | OPT(READ_ONLY) | OPT(TAKE_OVER),
     "prove that the database is whole",
     "Reads every page and value in use: checksums, order of keys, counts, that each byte is "
     "accounted for once. Exit status 5 if anything is wrong, also if opening could do without "
     "the damaged file. Owns the database while it runs, "
     "unless --read-only; then exit status 4 tells that its owner has meanwhile removed what "
     "was "
     "to be read: try again.",
     "sopctl verify ./shop\nsopctl verify /backup/shop-monday --read-only\n"
     "sopctl verify --deep -o json",
     sop_ctl__verify},
    {"repair", "[PATH]", 0, 1, OPT(DRY_RUN),
     "mend the marks without which a database cannot be opened",
     "For a database whose openings fail with an error that names a GATE, the mark that a "
     "folder "
     "of its history is in use. No data is changed: the mark is written anew if all history is "
     "there, nothing says that the folder was given up, and nobody has the database open (exit "
     "status 4). What it cannot mend it leaves as it is (exit status 5); with --dry-run also "
     "what it can. Prove the database with verify --deep afterwards.",
     "sopctl repair ./shop --dry-run\nsopctl repair ./shop\nsopctl verify ./shop --deep",
     sop_ctl__repair},
    {"stats", "[PATH]", 0, 1, 0, "show numbers about the database",
     "head is the newest commit that is shown, checkpoint where the next opening begins to "
     "replay; volume_bytes is what all files take on the volume, pack_bytes the files of pages "
     "and large values, pack_live_bytes what is in use of them (the rest is given back by "
     "compact); open_ns and open_records tell how long this opening took and what it replayed. "
     "max_bytes is the limit that was given to init, 0 = none. "
     "checkpoints_damaged should be 0: otherwise an older checkpoint served, and verify names "
     "the damaged files. The next checkpoint takes their place.",
     "sopctl stats ./shop\nsopctl stats -o json", sop_ctl__stats},
    {"backup", "FOLDER", 1, 1, 0, "copy one state of the database into a folder",
     "The folder must be absent or empty; it becomes a complete, compact database. Works while "
     "another process writes to the database.",
     "sopctl backup /backup/shop-monday --db ./shop", sop_ctl__backup},
    {"restore", "BACKUP [PATH]", 1, 2, 0, "make a database from a backup",
     "The backup is verified first. PATH must be absent or empty.",
     "sopctl restore /backup/shop-monday ./shop", sop_ctl__restore},
    {"compact", "[PATH]", 0, 1, WRITES, "give the space of dead data back to the volume",
     "Copies what is in use out of files that are mostly dead, and removes those. The database "
     "may be used again at any moment of it: a compaction that is cut short harms nothing.",
     "sopctl compact ./shop", sop_ctl__compact},
    {"checkpoint", "[PATH]", 0, 1, WRITES,
     "write a checkpoint, so that the next opening replays nothing", NULL,
     "sopctl checkpoint ./shop", sop_ctl__checkpoint},
    {"doctor", "[PATH]", 0, 1, OPT(PROCESSES), "test whether a volume is fit for databases",
     "Races processes for file names, checks that what is written can be read and that what is "
     "removed is gone, and measures syncs, in a temporary sub-folder of PATH. Exit status 3 if "
     "the volume is not fit.",
     "sopctl doctor /mnt/disk", sop_ctl__doctor},
    {"completion", "SHELL", 1, 1, 0, "print the completion script of bash, zsh or fish",
     "'mdoc' prints the man page.",
     "source <(sopctl completion bash)\n"
     "sopctl completion fish > ~/.config/fish/completions/sopctl.fish",
     sop_ctl__completion},
};

static const char manual[] =
    ".Sh ENVIRONMENT\n.Bl -tag -width SOP_DB\n.It Ev SOP_DB\n"
    "Folder of the database when\n.Fl Fl db\nis not given.\n.El\n"
    ".Sh EXIT STATUS\n.Bl -tag -width 3n\n"
    ".It 0\nDone.\n"
    ".It 1\nNot found: a key, a store, a state.\n"
    ".It 2\nWrong usage, or input that cannot be read as what it should be.\n"
    ".It 3\nRefused: already there, wrong type, over a limit, not a database (no such folder, "
    "an\n"
    "empty one, one with other files, a file), no permission, wrong version.\n"
    ".It 4\nNothing happened; the same command may work later: conflict, time,\n"
    "in use, memory or space short.\n"
    ".It 5\nStored bytes are damaged.\n"
    ".It 6\nInput/output error, or another fatal one.\n"
    ".It 7\nThe outcome of a commit is not known; look before repeating it.\n.El\n.Pp\n"
    "Errors go to the standard error output; with\n.Fl Fl output Cm json\nor\n.Cm ndjson\n"
    "as\n.Ql {\"error\":{\"code\",\"class\",\"message\",\"hint\",\"exit\"}} .\n"
    ".Sh SEE ALSO\n.Xr sop-bench 1\n";

const struct sop_program sop_ctl__program = {
    .name = "sopctl",
    .version = NULL, /* main.c prints the version of the library */
    .purpose = "work with a SOP database from the shell",
    .details =
        "The database is a folder, named by --db or by the environment variable SOP_DB; "
        "commands "
        "that take [PATH] also accept it as their argument.\n"
        "Commands that only read (get, scan, count, dump, stats, ...) neither lock the "
        "database "
        "nor change it and work while another process has it open. The others own it while "
        "they "
        "run.\n"
        "Exit status: 0 done, 1 not found, 2 wrong usage or input, 3 refused, 4 try again "
        "later, "
        "5 stored bytes damaged, 6 input/output or fatal error, 7 outcome of a commit "
        "unknown.\n"
        "A first session: sopctl init ./shop; export SOP_DB=./shop; sopctl store create users; "
        "sopctl put users alice 31; sopctl scan users.",
    .options = options,
    .options_count = OPT_COUNT,
    .globals = OPT(DB) | OPT(OUTPUT) | OPT(DURABILITY) | OPT(CACHE) | OPT(QUIET),
    .commands = commands,
    .commands_count = sizeof commands / sizeof commands[0],
    .manual = manual,
};
