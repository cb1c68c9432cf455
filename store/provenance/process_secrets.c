/*
 * Secrets in command lines. The tables say which names and forms; below them is how a line is cut.
 *
 *     --api-key VALUE, --token=VALUE, logger.api_key=VALUE, HF_TOKEN=VALUE, {"password": "VALUE"}, ?access_token=VALUE
 *     https://USER:PASSWORD@host/
 *     Authorization: Bearer VALUE
 *     hf_..., sk-..., ghp_..., eyJ...: wherever they stand
 *     a long word that looks random, except a hexadecimal one after a name of hashes or ids, and paths
 *
 * A name counts by its last words: --hf-token is a secret's, --token-dropout, --max-tokens and --pad-token are not.
 */
#include "process.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- tables ---- */

/* Last words of names of secrets. */
static const char *const secret_words[] = {
    "token", "password", "passwd", "passphrase", "passcode", "secret", "secrets", "apikey", "accesskey", "secretkey",
    "privatekey", "authkey", "credential", "credentials", "auth", "authorization", "bearer", "apitoken", "authtoken",
    "dsn", "cookie",
};

/* "key" is one after these. */
static const char *const key_owners[] = {
    "api", "access", "secret", "private", "auth", "encryption", "account", "signing", "license", "client", "service", "shared",
    "wandb", "openai", "anthropic", "hf", "comet", "neptune", "mlflow", "aws", "azure", "gcp", "s3", "clearml", "deploy",
};

/* "token" is none after these. */
static const char *const token_owners[] = {
    "pad",   "eos",   "bos",   "mask", "unk",   "sep",      "cls",    "image", "special", "new",   "next",   "per",
    "start", "end",   "stop",  "max",  "min",   "num",      "class",  "audio", "video",   "first", "last",   "begin",
    "boi",   "eoi",   "prefix", "suffix", "register", "dist", "distillation", "additional", "decoder", "forced", "placeholder",
    "by",    "each",  "single", "all",  "every",
};

/* A secret's name though something follows: "token_value". */
static const char *const secret_suffixes[] = {"value", "string", "plain", "text"};

/* What comes after these is a hash or an id, when it is hexadecimal. */
static const char *const hash_words[] = {
    "commit", "revision", "rev", "sha", "sha1", "sha256", "md5", "hash", "checksum", "digest", "ref", "id", "uuid", "run",
    "version", "branch", "checkout", "resume", "seed", "fingerprint",
};

/* A token begins with PREFIX, and its longest run of letters and digits has RUN at least. */
static const struct {
    const char *prefix;
    size_t run;
} forms[] = {
    {"hf_", 16},    {"api_org_", 16}, {"sk-", 16},       {"sk_live_", 10}, {"rk_live_", 10}, {"ghp_", 16},
    {"gho_", 16},   {"ghu_", 16},     {"ghs_", 16},      {"ghr_", 16},     {"github_pat_", 10}, {"glpat-", 8},
    {"AKIA", 12},   {"ASIA", 12},     {"xoxb-", 6},      {"xoxp-", 6},     {"xoxa-", 6},     {"xoxr-", 6},
    {"xoxs-", 6},   {"xapp-", 6},     {"eyJ", 14},       {"AIza", 20},     {"ya29.", 10},    {"pypi-", 16},
    {"npm_", 20},   {"r8_", 20},      {"nvapi-", 16},    {"dckr_pat_", 10}, {"SG.", 16},     {"wandb_v1_", 10},
    {"rpa_", 20},   {"gsk_", 20},     {"dop_v1_", 20},   {"hvs.", 16},
};

static const char stars[] = "***";

#define IS_IN(word, n, table) is_in(word, n, table, sizeof(table) / sizeof((table)[0]))

static bool is_in(const char *word, size_t n, const char *const *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(table[i]) == n && strncasecmp(table[i], word, n) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- names ---- */

struct part {
    const char *at;
    size_t n;
};

/* The word of a name that ends at END: "key" of "apiKey", "API_KEY", "api.key"; empty at the start. */
static struct part last_word(const char *name, size_t end)
{
    while (end > 0 && !isalnum((unsigned char)name[end - 1])) {
        end--;
    }
    size_t at = end;
    while (at > 0 && isalnum((unsigned char)name[at - 1])) {
        at--;
        bool hump = at > 0 && isupper((unsigned char)name[at]) && islower((unsigned char)name[at - 1]);
        if (hump) {
            break;
        }
    }
    return (struct part){name + at, end - at};
}

static bool is_secret_name(const char *name, size_t n)
{
    struct part last = last_word(name, n);
    struct part before = last_word(name, (size_t)(last.at - name));
    if (IS_IN(last.at, last.n, secret_suffixes)) {
        last = before;
        before = last_word(name, (size_t)(last.at - name));
    }
    if (last.n == 3 && strncasecmp(last.at, "key", 3) == 0) {
        return IS_IN(before.at, before.n, key_owners);
    }
    if (last.n == 5 && strncasecmp(last.at, "token", 5) == 0) {
        return !IS_IN(before.at, before.n, token_owners);
    }
    if (last.n == 3 && strncasecmp(last.at, "pwd", 3) == 0) {
        return before.n > 0; /* alone it is a directory */
    }
    return IS_IN(last.at, last.n, secret_words);
}

static bool is_hash_name(const char *name, size_t n)
{
    struct part last = last_word(name, n);
    struct part before = last_word(name, (size_t)(last.at - name));
    return IS_IN(last.at, last.n, hash_words) && !IS_IN(before.at, before.n, secret_words);
}

/* ---- what looks random ---- */

enum kind { OTHER, LOWER, UPPER, DIGIT };

static enum kind kind_of(char c)
{
    unsigned char u = (unsigned char)c;
    return islower(u) ? LOWER : isupper(u) ? UPPER : isdigit(u) ? DIGIT : OTHER;
}

/*
 * Letters of both cases and digits that change from one kind to another at 4 of 9 places, where random ones do at 5 or 6 and
 * words at few; or letters of one case and digits, longer, at 3 of 10 places, where hexadecimal ones do at 4 or 5.
 */
static bool is_random(const char *word, size_t n)
{
    size_t changes = 0;
    size_t count[4] = {0};
    for (size_t i = 0; i < n; i++) {
        enum kind kind = kind_of(word[i]);
        count[kind]++;
        changes += i > 0 && kind != OTHER && kind_of(word[i - 1]) != OTHER && kind != kind_of(word[i - 1]);
    }
    bool both = count[LOWER] > 0 && count[UPPER] > 0;
    if (count[DIGIT] == 0 && !both) {
        return false;
    }
    return both ? n >= 20 && changes * 9 >= n * 4
                : n >= 32 && count[OTHER] == 0 && changes * 10 >= n * 3;
}

static bool is_hexadecimal(const char *word, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!isxdigit((unsigned char)word[i]) && word[i] != '-') {
            return false;
        }
    }
    return true;
}

/* A UUID, behind a short word or none: of a run, a device ("GPU-8f9d1c2e-..."). */
static bool is_uuid(const char *word, size_t n)
{
    enum { SIZE = 36, WORD_MAX = 8 };
    if (n < SIZE || n > SIZE + WORD_MAX || !is_hexadecimal(word + n - SIZE, SIZE)) {
        return false;
    }
    for (size_t i = 0; i < SIZE; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if ((word[n - SIZE + i] == '-') != dash) {
            return false;
        }
    }
    return true;
}

/* The bytes of a token of a known form at TEXT, or 0. */
static size_t known_form(const char *text, size_t n)
{
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        size_t prefix = strlen(forms[i].prefix);
        if (n <= prefix || memcmp(text, forms[i].prefix, prefix) != 0) {
            continue;
        }
        size_t end = prefix;
        size_t run = 0;
        size_t longest = 0;
        for (; end < n && (isalnum((unsigned char)text[end]) || strchr("_-.+/=", text[end]) != NULL); end++) {
            run = isalnum((unsigned char)text[end]) ? run + 1 : 0;
            longest = run > longest ? run : longest;
        }
        if (longest >= forms[i].run) {
            return end;
        }
    }
    return 0;
}

/* ---- cutting ---- */

struct redactor {
    char *out;
    size_t n;
    bool value_next;  /* the next word is the value of a secret */
    bool hash_next;   /* the next word may be a hash */
};

static void put(struct redactor *r, const char *bytes, size_t n)
{
    memcpy(r->out + r->n, bytes, n);
    r->n += n;
}

static void put_stars(struct redactor *r)
{
    put(r, stars, sizeof stars - 1);
}

static bool is_name_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '.';
}

/* How many quotes, with what may escape them, TEXT begins with. */
static size_t quotes(const char *text, size_t n)
{
    size_t i = 0;
    while (i < n && (text[i] == '"' || text[i] == '\'' || text[i] == '\\')) {
        i++;
    }
    return i;
}

/* The bytes of a secret's value at TEXT, of N up to the end of the word: to a delimiter where it stands INSIDE something. */
static size_t value_size(const char *text, size_t n, bool inside)
{
    size_t at = quotes(text, n);
    const char *ends = at > 0 ? "\"'" : inside ? "&;,\"'}])#" : "";
    while (at < n && (ends[0] == '\0' || strchr(ends, text[at]) == NULL)) {
        at++;
    }
    return at;
}

/* The user information of an address whose "://" ends at TEXT: its bytes, or 0. */
static size_t user_information(const char *text, size_t n)
{
    size_t found = 0;
    for (size_t i = 0; i < n && strchr("/?#\"' ", text[i]) == NULL; i++) {
        found = text[i] == '@' ? i : found;
    }
    return found;
}

static bool is_run_char(char c)
{
    return isalnum((unsigned char)c) || c == '+' || c == '/' || c == '_' || c == '-';
}

/* A run of characters that random words have, at TEXT. It ends before a name with a value, and before a token. */
static size_t run_size(const char *text, size_t n)
{
    size_t i = 0;
    if (text[0] == '+') {
        return 0;
    }
    while (i < n && is_run_char(text[i])) {
        if (i > 0 && !isalnum((unsigned char)text[i - 1]) && known_form(text + i, n - i) > 0) {
            return i;
        }
        i++;
    }
    if (i + 1 < n && (text[i] == '=' || text[i] == ':') && text[i + 1] != '=') {
        size_t name = i;
        while (name > 0 && text[name - 1] != '/' && text[name - 1] != '+') {
            name--;
        }
        i = name > 0 ? name : i;
    }
    return i;
}

/* A path, as far as the run says: it begins with a slash, or has directories and goes on with an extension, or has a directory
   that is a hash. */
static bool is_path(const char *run, size_t n, size_t room)
{
    bool slash = memchr(run, '/', n) != NULL;
    size_t part = 0;
    if (run[0] == '/' || (slash && n < room && run[n] == '.')) {
        return true;
    }
    for (size_t i = 0; slash && i <= n; i++) {
        if (i < n && run[i] != '/') {
            continue;
        }
        if (i - part >= 16 && is_hexadecimal(run + part, i - part)) {
            return true;
        }
        part = i + 1;
    }
    return false;
}

/* Copies the run of N bytes at WORD + AT, unless it looks random. HASH: it may be one. */
static void put_run(struct redactor *r, const char *word, size_t at, size_t n, size_t size, bool hash)
{
    const char *run = word + at;
    hash |= at > 0 && word[at - 1] == '@'; /* name@commit */
    if (!is_random(run, n) || is_uuid(run, n) || is_path(run, n, size - at) || (hash && is_hexadecimal(run, n))) {
        put(r, run, n);
    } else {
        put_stars(r);
    }
}

/* What stands at WORD + I where a name or a value may begin: copies it, redacted; gives the bytes that were looked at. */
static size_t put_piece(struct redactor *r, const char *word, size_t i, size_t n, bool *hash)
{
    bool boundary = i == 0 || !isalnum((unsigned char)word[i - 1]);
    size_t form = boundary ? known_form(word + i, n - i) : 0;
    if (form > 0) {
        put_stars(r);
        return form;
    }
    if (n - i > 3 && memcmp(word + i, "://", 3) == 0) {
        size_t user = user_information(word + i + 3, n - i - 3);
        put(r, "://", 3);
        if (user > 0) {
            put_stars(r);
        }
        return 3 + user;
    }
    size_t name = 0;
    while (boundary && i + name < n && is_name_char(word[i + name])) {
        name++;
    }
    size_t after = i + name + quotes(word + i + name, n - i - name);
    if (name > 0 && after < n && (word[after] == '=' || word[after] == ':') &&
        (after + 2 >= n || memcmp(word + after, "://", 3) != 0)) {
        after++;
        put(r, word + i, after - i);
        *hash = is_hash_name(word + i, name);
        if (!is_secret_name(word + i, name)) {
            return after - i;
        }
        size_t value = value_size(word + after, n - after, strspn(word, "-+") < i);
        if (value > quotes(word + after, n - after)) {
            put_stars(r);
        } else {
            put(r, word + after, value);
            r->value_next = word[after - 1] == ':';
        }
        return after - i + value;
    }
    size_t run = run_size(word + i, n - i);
    if (run == 0) {
        put(r, word + i, 1);
        return 1;
    }
    put_run(r, word, i, run, n, *hash);
    return run;
}

/* One word. WHOLE: it is a string of its own, with nothing after it. */
static void put_word(struct redactor *r, const char *word, size_t n)
{
    static const char *const schemes[] = {"bearer", "basic", "token"};
    bool hash = r->hash_next;
    size_t dashes = strspn(word, "-");
    bool option = dashes > 0 && dashes < n && isalpha((unsigned char)word[dashes]);
    if (r->value_next && !option) {
        /* "Authorization: Bearer VALUE" */
        size_t quoted = quotes(word, n);
        r->value_next = IS_IN(word + quoted, n - quoted, schemes);
        r->hash_next = false;
        put_stars(r);
        return;
    }
    r->value_next = false;
    for (size_t i = 0; i < n;) {
        i += put_piece(r, word, i, n, &hash);
    }
    size_t name = 0;
    while (dashes + name < n && is_name_char(word[dashes + name])) {
        name++;
    }
    bool only_name = dashes + name == n;
    size_t quoted = quotes(word, n);
    bool bearer = IS_IN(word + quoted, n - quoted, ((const char *const[]){"bearer"}));
    r->value_next |= bearer || (option && only_name && is_secret_name(word + dashes, name));
    r->hash_next = only_name && is_hash_name(word + dashes, name);
}

/* The bytes of the word at TEXT; what is in quotes belongs to it when it is the value of a secret. */
static size_t word_size(const struct redactor *r, const char *text, size_t n)
{
    bool quoted = r->value_next && (text[0] == '"' || text[0] == '\'');
    size_t i = 0;
    if (quoted) {
        const char *end = memchr(text + 1, text[0], n - 1);
        i = end == NULL ? n : (size_t)(end - text);
    }
    while (i < n && !isspace((unsigned char)text[i])) {
        i++;
    }
    return i;
}

/* One string of a command line, which may be a command line itself ("sh -c"). */
static void put_string(struct redactor *r, const char *text, size_t n)
{
    size_t dashes = strspn(text, "-");
    size_t name = 0;
    while (dashes + name < n && is_name_char(text[dashes + name])) {
        name++;
    }
    /* A value that is a string of its own, or is joined to its option, may have spaces. */
    if (r->value_next && (dashes == 0 || dashes == n) && strcspn(text, " \t\n") < n) {
        r->value_next = r->hash_next = false;
        put_stars(r);
        return;
    }
    if (dashes > 0 && text[dashes + name] == '=' && is_secret_name(text + dashes, name) &&
        dashes + name + 1 < n) {
        r->value_next = r->hash_next = false;
        put(r, text, dashes + name + 1);
        put_stars(r);
        return;
    }
    for (size_t i = 0; i < n;) {
        if (isspace((unsigned char)text[i])) {
            put(r, text + i++, 1);
            continue;
        }
        size_t word = word_size(r, text + i, n - i);
        put_word(r, text + i, word);
        i += word;
    }
}

enum ckpt_err ckpt_secret_redact(const struct ckpt_strings *strings, struct ckpt_strings *out)
{
    /* A value of one character grows. */
    struct redactor r = {.out = malloc(3 * strings->size + 4)};
    if (r.out == NULL) {
        return CKPT_ERR_NOMEM;
    }
    for (size_t at = 0; at < strings->size;) {
        const char *end = memchr(strings->at + at, '\0', strings->size - at);
        if (end == NULL) {
            break;
        }
        size_t n = (size_t)(end - (strings->at + at));
        put_string(&r, strings->at + at, n);
        r.out[r.n++] = '\0';
        at += n + 1;
    }
    out->at = r.out;
    out->size = r.n;
    return CKPT_OK;
}
