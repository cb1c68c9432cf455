/*
 * Which checkpoints stay, which go, and why: histories with the verdict of each.
 */
#include "policy_history.h"

/* The explanation, with "hide" or "drop" for "rotate". */
static void tell(const struct ckpt_policy_verdict *verdict, char *text, size_t size)
{
    char explained[256];
    const char *cause = explained;
    static const char *const kinds[] = {"keep", "hide", "drop"};
    ckpt_policy_explain(verdict, explained, sizeof explained);
    bool keeps = strncmp(explained, "keep: ", 6) == 0;
    assert_int_equal(keeps, verdict->kind == CKPT_VERDICT_KEEP);
    if (strchr(cause, ':') != NULL) {
        cause = strchr(cause, ':') + 2;
    }
    (void)snprintf(text, size, "%s: %s", kinds[verdict->kind], cause);
}

struct example {
    const char *name;
    const char *policy; /* NULL: none */
    struct row rows[ROWS];
    uint64_t bytes_wanted;
    int64_t changed; /* the policy, so many seconds ago; 0: never */
    bool run_deleted;
};

static bool check(const struct example *e)
{
    struct ckpt_policy policy;
    struct history h;
    struct ckpt_policy_verdict verdicts[ROWS];
    struct ckpt_policy_summary summary;
    struct ckpt_policy_situation situation = {
        .now_ns = NOW * NS,
        .changed_ns = e->changed == 0 ? 0 : (NOW - e->changed) * NS,
        .bytes_wanted = e->bytes_wanted,
        .run_deleted = e->run_deleted,
    };
    bool right = true;
    fill(&h, e->rows);
    if (e->policy != NULL) {
        parse(e->policy, &policy);
    }
    assert_ok(ckpt_policy_judge(e->policy == NULL ? NULL : &policy, h.checkpoints, h.n, &situation,
                                verdicts, &summary));
    for (size_t i = 0; i < h.n; i++) {
        char told[300];
        tell(&verdicts[i], told, sizeof told);
        if (strcmp(told, e->rows[i].expected) != 0) {
            print_error("%s: number %zu is \"%s\" and not \"%s\"\n", e->name, i, told,
                        e->rows[i].expected);
            right = false;
        }
    }
    return right;
}

static void check_all(const struct example *examples, size_t n)
{
    bool right = true;
    for (size_t i = 0; i < n; i++) {
        right = check(&examples[i]) && right;
    }
    assert_true(right);
}

#define CHECK(examples) check_all(examples, sizeof(examples) / sizeof(examples)[0])

#define NO_RULE "hide: no rule keeps it"

static const struct example of_each_rule[] = {
    {"last",
     "keep last 2",
     {{"", 4 * H, 1, "", NO_RULE},
      {"", 3 * H, 2, "", "keep: last 2"},
      {"", 2 * H, 3, "", "keep: latest"}}},
    {"last, more than there are",
     "keep last 1000000000000",
     {{"", 4 * H, 1, "", "keep: last 1000000000000"}, {"", 3 * H, 2, "", "keep: latest"}}},
    {"best",
     "keep best 2",
     {{"", 5 * H, 1, "val_loss 0.5", NO_RULE},
      {"", 4 * H, 2, "val_loss 0.2", "keep: best val_loss 0.2"},
      {"", 3 * H, 3, "val_loss 0.3", "keep: 2nd best val_loss 0.3"},
      {"", 2 * H, 4, "", NO_RULE},
      {"", 1 * H, 5, "val_loss 0.4", "keep: latest"}}},
    {"best by another metric, beside the primary one",
     "keep best 1 by val_acc",
     {{"", 5 * H, 1, "val_loss 0.5 val_acc 0.9", "keep: best val_acc 0.9"},
      {"", 4 * H, 2, "val_loss 0.2 val_acc 0.8", "keep: best val_loss 0.2"},
      {"", 3 * H, 3, "val_loss 0.3 val_acc 0.7", NO_RULE},
      {"", 2 * H, 4, "val_loss 0.4 val_acc 0.6", "keep: latest"}}},
    {"every N epochs: the first at or after each multiple, of one epoch the youngest",
     "keep every 10 epochs",
     {{"", 9 * H, 1, "", NO_RULE},
      {"", 8 * H, 9, "", NO_RULE},
      {"", 7 * H, 10, "", NO_RULE},
      {"", 6 * H, 10, "", "keep: every 10 epochs"},
      {"", 5 * H, 11, "", NO_RULE},
      {"", 4 * H, 23, "", "keep: every 10 epochs"},
      {"", 3 * H, 29, "", NO_RULE},
      {"", 2 * H, -1, "", NO_RULE},
      {"", 1 * H, 31, "", "keep: latest"}}},
    {"epoch 0 is a multiple",
     "keep every 10 epochs",
     {{"", 9 * H, 0, "", "keep: every 10 epochs"},
      {"", 8 * H, 1, "", NO_RULE},
      {"", 7 * H, 2, "", "keep: latest"}}},
    {"every N steps",
     "keep every 1000 steps",
     {{"", 9 * H, 5, "", NO_RULE},
      {"", 8 * H, 10, "", "keep: every 1000 steps"},
      {"", 7 * H, 15, "", NO_RULE},
      {"", 6 * H, 25, "", "keep: every 1000 steps"},
      {"", 5 * H, 26, "", "keep: latest"}}},
    {"every two hours: the first of each",
     "keep every 2h",
     {{"", 6 * H, 1, "", "keep: every 2h"},
      {"", 5 * H, 2, "", NO_RULE},
      {"", 4 * H + 1, 3, "", NO_RULE},
      {"", 3 * H, 4, "", "keep: every 2h"},
      {"", 2 * H, 5, "", "keep: every 2h"},
      {"", 1 * H, 6, "", "keep: latest"}}},
    {"first",
     "keep first",
     {{"I", 9 * H, 0, "", "keep: invalid less than 7d ago"},
      {"", 8 * H, 1, "", "keep: first"},
      {"", 7 * H, 2, "", NO_RULE},
      {"", 6 * H, 3, "", "keep: latest"}}},
    {"within: counted from the latest",
     "keep within 7d",
     {{"", 100 * D + 1, 1, "", NO_RULE},
      {"", 100 * D, 2, "", "keep: within 7d"},
      {"", 99 * D, 3, "", "keep: within 7d"},
      {"", 93 * D, 4, "", "keep: latest"}}},
    {"thinning: the newest of each hour and day that has one",
     "keep thinning 1h:2 1d:3",
     {{"", 60 * D, 1, "", NO_RULE},
      {"", 50 * D, 2, "", "keep: thinning 1h:2 1d:3"},
      {"", 40 * D - 1 * H, 3, "", NO_RULE},
      {"", 40 * D - 9 * H, 4, "", "keep: thinning 1h:2 1d:3"},
      {"", 30 * D - 1 * H, 5, "", NO_RULE},
      {"", 30 * D - 3 * H, 6, "", NO_RULE},
      {"", 30 * D - 3 * H - 1, 7, "", "keep: thinning 1h:2 1d:3"},
      {"", 30 * D - 9 * H, 8, "", "keep: latest"}}},
    {"rules add up, the first that holds is told",
     "keep last 2\nkeep first\nkeep every 2 epochs",
     {{"", 5 * H, 1, "", "keep: first"},
      {"", 4 * H, 2, "", "keep: every 2 epochs"},
      {"", 3 * H, 3, "", NO_RULE},
      {"", 2 * H, 4, "", "keep: last 2"},
      {"", 1 * H, 5, "", "keep: latest"}}},
    {"snapshots: of overwritten ones the first of each half hour, and good ones anyway",
     "snapshot every 30m\nkeep last 3\nkeep best 2",
     {{"o", 120 * M, 1, "val_loss 0.1", "keep: best val_loss 0.1", 0, 110 * M},
      {"o", 110 * M, 2, "", "hide: overwritten between two snapshots", 0, 95 * M},
      {"o", 95 * M, 3, "val_loss 0.2", "keep: 2nd best val_loss 0.2", 0, 60 * M},
      {"o", 60 * M, 4, "", "keep: last 3", 0, 40 * M},
      {"o", 40 * M, 5, "", "hide: overwritten between two snapshots", 0, 30 * M},
      {"o", 30 * M, 6, "", "keep: last 3", 0, 20 * M},
      {"", 20 * M, 7, "", "keep: latest"}}},
};

static void test_each_rule(void **state)
{
    (void)state;
    CHECK(of_each_rule);
}

static void test_never_rotated(void **state)
{
    static const struct example examples[] = {
        {"the only one", "keep every 10 epochs", {{"", 90 * D, 1, "", "keep: the only one"}}},
        {"the only one that is whole",
         "keep every 10 epochs",
         {{"I", 90 * D, 1, "", "hide: invalid"}, {"", 80 * D, 2, "", "keep: the only one"}}},
        {"pinned, tagged, open, parent, needed, being written",
         "keep last 1\ngrace 0",
         {{"P", 90 * D, 1, "", "keep: pinned"},
          {"T", 89 * D, 2, "", "keep: tagged"},
          {"O", 88 * D, 3, "", "keep: open"},
          {"R", 87 * D, 4, "", "keep: parent of a running run"},
          {"A", 86 * D, 5, "", "keep: a live name needs it"},
          {"W", 85 * D, 6, "", "keep: being written"},
          {"", 84 * D, 7, "", "drop: no rule keeps it"},
          {"", 83 * D, 8, "", "keep: latest"},
          {"W", 1, 9, "val_loss 0.1", "keep: being written"}}},
        {"not even for space or a quota",
         "keep last 9\ngrace 0\nquota 1",
         {{"P", 9 * H, 1, "", "keep: pinned", 100},
          {"d", 8 * H, 2, "val_loss 1", "keep: best val_loss 1", 100, 60 * D},
          {"", 7 * H, 3, "", "drop: over quota", 100},
          {"o", 6 * H, 4, "", "keep: latest", 100, 50 * D}},
         UINT64_MAX},
        {"invalid ones are neither best nor latest, whatever their value",
         "keep last 1\nkeep best 1",
         {{"", 3 * H, 1, "val_loss 0.5", "keep: best val_loss 0.5"},
          {"I", 2 * H, 2, "val_loss 0.1", "keep: invalid less than 7d ago"},
          {"", 2 * H, 3, "val_loss 0.6", "keep: latest"},
          {"I", 1 * H, 4, "val_loss 0.1", "keep: invalid less than 7d ago"}}},
        {"a hidden one comes back when it becomes the best or somebody wants it",
         "keep last 1",
         {{"h", 30 * D, 1, "val_loss 0.1", "keep: best val_loss 0.1", 0, 20 * D},
          {"h", 29 * D, 2, "val_loss 0.2", "drop: no rule keeps it", 0, 20 * D},
          {"hT", 28 * D, 3, "val_loss 0.2", "keep: tagged", 0, 20 * D},
          {"", 27 * D, 4, "", "keep: latest"}}},
        {"but a dropped one never",
         "keep last 9",
         {{"xPTORA", 30 * D, 1, "val_loss 0.1", "drop: rotated"},
          {"", 20 * D, 2, "val_loss 0.2", "keep: the only one"}}},
    };
    (void)state;
    CHECK(examples);
}

static void test_without_a_keep_rule(void **state)
{
    static const struct example examples[] = {
        {"what is live stays, what isn't for 7 days",
         NULL,
         {{"", 900 * D, 1, "", "keep: there is no keep rule"},
          {"o", 800 * D, 2, "", "drop: overwritten", 0, 7 * D},
          {"o", 800 * D, 3, "", "keep: overwritten less than 7d ago", 0, 7 * D - 1},
          {"d", 800 * D, 4, "", "drop: deleted", 0, 8 * D},
          {"d", 800 * D, 5, "", "keep: deleted less than 7d ago", 0, 1},
          {"I", 800 * D, 6, "", "keep: there is no keep rule"},
          {"Io", 800 * D, 7, "", "drop: overwritten", 0, 7 * D},
          {"o", 800 * D, 8, "val_loss 1", "keep: best val_loss 1", 0, 100 * D},
          {"", 700 * D, 9, "", "keep: latest"}}},
        {"a text without a keep rule is the same",
         "grace 2d\nmetric val_loss min\n",
         {{"", 900 * D, 1, "", "keep: there is no keep rule"},
          {"o", 800 * D, 2, "", "drop: overwritten", 0, 2 * D},
          {"o", 800 * D, 3, "", "keep: overwritten less than 2d ago", 0, 1 * D},
          {"", 700 * D, 4, "", "keep: latest"}}},
        {"space: the oldest of what isn't live, as much as is wanted",
         NULL,
         {{"", 9 * H, 1, "", "keep: there is no keep rule", 100},
          {"o", 8 * H, 2, "", "drop: space is needed", 10, 7 * H},
          {"d", 7 * H, 3, "", "drop: space is needed", 10, 1 * H},
          {"o", 6 * H, 4, "", "keep: overwritten less than 7d ago", 10, 5 * H},
          {"", 5 * H, 5, "", "keep: latest", 10}},
         11},
        {"space: what goes anyway counts",
         NULL,
         {{"d", 9 * D, 1, "", "drop: deleted", 10, 8 * D},
          {"d", 8 * D, 2, "", "keep: deleted less than 7d ago", 10, 1 * D},
          {"", 5 * H, 3, "", "keep: latest", 10}},
         10},
        {"a quota",
         "quota 30",
         {{"", 9 * H, 1, "", "hide: over quota", 1},
          {"", 8 * H, 2, "", "hide: over quota", 11},
          {"", 7 * H, 3, "", "keep: there is no keep rule", 20},
          {"", 6 * H, 4, "", "keep: latest", 10}}},
        {"taking the policy away doesn't drop at once what it kept",
         NULL,
         {{"o", 90 * D, 1, "", "keep: overwritten less than 7d ago", 0, 80 * D},
          {"", 80 * D, 2, "", "keep: latest"}},
         0,
         H},
        {"nor does it shorten the grace of what it hid; what is live comes back",
         NULL,
         {{"oh", 90 * D, 1, "", "hide: overwritten", 0, 1 * D},
          {"h", 90 * D, 2, "", "keep: there is no keep rule", 0, 1 * D},
          {"", 80 * D, 3, "", "keep: latest"}}},
        {"a deleted run goes, and leaves only what somebody holds",
         "keep last 5",
         {{"dP", 90 * D, 1, "", "keep: pinned", 0, 8 * D},
          {"d", 90 * D, 2, "val_loss 0.5", "drop: deleted", 0, 8 * D},
          {"o", 90 * D, 3, "", "drop: overwritten", 0, 9 * D},
          {"d", 90 * D, 4, "", "keep: deleted less than 7d ago", 0, 1 * D}},
         0,
         0,
         true},
    };
    (void)state;
    CHECK(examples);
}

static void test_grace(void **state)
{
    static const struct example examples[] = {
        {"what no rule keeps is hidden first and dropped later",
         "keep last 1\ngrace 2d",
         {{"h", 9 * D, 1, "", "drop: no rule keeps it", 0, 2 * D},
          {"h", 9 * D, 2, "", NO_RULE, 0, 2 * D - 1},
          {"", 9 * D, 3, "", NO_RULE},
          {"o", 9 * D, 4, "", NO_RULE, 0, 8 * D},
          {"ho", 9 * D, 5, "", "drop: no rule keeps it", 0, 3 * D},
          {"h", 9 * D, 6, "", NO_RULE, 0, -5 * D}, /* hidden in the future: the clock went back */
          {"", 8 * D, 7, "", "keep: latest"}}},
        {"no grace",
         "keep last 1\ngrace 0",
         {{"", 9 * D, 1, "", "drop: no rule keeps it"}, {"", 8 * D, 2, "", "keep: latest"}}},
        {"a rule that is widened in time brings back what was hidden",
         "keep last 3",
         {{"h", 9 * D, 1, "", NO_RULE, 0, 1 * D},
          {"h", 8 * D, 2, "", "keep: last 3", 0, 1 * D},
          {"", 7 * D, 3, "", "keep: last 3"},
          {"", 6 * D, 4, "", "keep: latest"}}},
        {"space doesn't wait, the oldest first",
         "keep last 2",
         {{"", 9 * D, 1, "", "drop: space is needed", 10},
          {"h", 8 * D, 2, "", NO_RULE, 10, 1 * D},
          {"", 7 * D, 3, "", "keep: last 2", 10},
          {"", 6 * D, 4, "", "keep: latest", 10}},
         10},
        {"invalid ones stay visible for a grace, then they are let go",
         "keep last 9\ngrace 2d",
         {{"I", 1 * D, 1, "", "keep: invalid less than 2d ago"},
          {"I", 3 * D, 2, "", "hide: invalid"},
          {"Ih", 9 * D, 3, "", "hide: invalid", 0, 1 * D},
          {"Ih", 9 * D, 4, "", "drop: invalid", 0, 2 * D},
          {"Io", 9 * D, 5, "", "hide: invalid", 0, 8 * D},
          {"", 1 * D, 6, "", "keep: the only one"}}},
        {"quota: the oldest that only rules keep, until the rest fits",
         "keep last 9\nquota 40",
         {{"P", 9 * D, 1, "", "keep: pinned", 10},
          {"", 8 * D, 2, "", "hide: over quota", 5},
          {"h", 7 * D, 3, "", "drop: over quota", 5, 7 * D},
          {"", 6 * D, 4, "", "hide: over quota", 15},
          {"", 5 * D, 5, "", "keep: last 9", 15},
          {"", 4 * D, 6, "", "keep: latest", 10}}},
        {"quota: bytes beyond all counting",
         "keep last 9\nquota 40",
         {{"", 8 * D, 1, "", "hide: over quota", UINT64_MAX},
          {"", 7 * D, 2, "", "hide: over quota", UINT64_MAX},
          {"", 6 * D, 3, "", "keep: last 9", 20},
          {"", 5 * D, 4, "", "keep: latest", 20}}},
    };
    (void)state;
    CHECK(examples);
}

static const struct example of_the_best[] = {
    {"the oldest of equals; NaN never; infinities on their side",
     "keep best 4",
     {{"", 9 * H, 1, "val_loss nan", NO_RULE},
      {"", 8 * H, 2, "val_loss inf", NO_RULE},
      {"", 7 * H, 3, "val_loss 0.5", "keep: 3rd best val_loss 0.5"},
      {"", 6 * H, 4, "val_loss 0.5", "keep: 4th best val_loss 0.5"},
      {"", 5 * H, 5, "val_loss 0.4", "keep: best val_loss 0.4"},
      {"", 4 * H, 6, "val_loss 0.4", "keep: 2nd best val_loss 0.4"},
      {"", 3 * H, 7, "val_loss -nan", "keep: latest"}}},
    {"max: minus infinity is the worst",
     "keep best 2 by acc\nmetric acc max",
     {{"", 9 * H, 1, "acc -inf", NO_RULE},
      {"", 8 * H, 2, "acc 0.1", "keep: 2nd best acc 0.1"},
      {"", 7 * H, 3, "acc 0.2", "keep: best acc 0.2"},
      {"", 6 * H, 4, "", "keep: latest"}}},
    {"a metric line turns a direction over and names the primary metric",
     "metric val_loss max\nkeep best 1",
     {{"", 9 * H, 1, "val_loss 0.1 val_acc 0.9", NO_RULE},
      {"", 8 * H, 2, "val_loss 0.2 val_acc 0.1", "keep: best val_loss 0.2"},
      {"", 7 * H, 3, "val_acc 0.1", "keep: latest"}}},
    {"too small an improvement is none, however many there are, until they add up",
     "metric val_loss min min-delta 0.1\nkeep best 1",
     {{"", 9 * H, 1, "val_loss 0.50", NO_RULE},
      {"", 8 * H, 2, "val_loss 0.45", NO_RULE},
      {"", 7 * H, 3, "val_loss 0.40", "keep: best val_loss 0.4"}, /* exactly, in decimal */
      {"", 6 * H, 4, "val_loss 0.35", NO_RULE},
      {"", 5 * H, 5, "val_loss 0.31", NO_RULE},
      {"", 4 * H, 6, "", "keep: latest"}}},
    {"0.3 to 0.2 is 0.1, though not in binary",
     "metric val_loss min min-delta 0.1\nkeep best 1",
     {{"", 9 * H, 1, "val_loss 0.3", NO_RULE},
      {"", 8 * H, 2, "val_loss 0.2", "keep: best val_loss 0.2"},
      {"", 7 * H, 3, "", "keep: latest"}}},
    {"dropped ones still are what others must improve on",
     "metric val_loss min min-delta 0.1\nkeep best 1",
     {{"x", 9 * H, 1, "val_loss 0.50", "drop: rotated"},
      {"", 8 * H, 2, "val_loss 0.45", "keep: best val_loss 0.45"},
      {"", 7 * H, 3, "val_loss 0.41", NO_RULE},
      {"", 6 * H, 4, "", "keep: latest"}}},
    {"invalid ones aren't",
     "metric val_loss min min-delta 0.1\nkeep best 1",
     {{"", 9 * H, 1, "val_loss 0.50", NO_RULE},
      {"I", 8 * H, 2, "val_loss 0.35", "keep: invalid less than 7d ago"},
      {"", 7 * H, 3, "val_loss 0.34", "keep: best val_loss 0.34"},
      {"", 7 * H, 4, "val_loss 0.25", NO_RULE}, /* too little after 0.34, enough after 0.35 */
      {"", 6 * H, 4, "", "keep: latest"}}},
    {"smooth: the mean of the last three, NaN left out, dropped ones not",
     "metric val_loss min smooth 3\nkeep best 1",
     {{"x", 9 * H, 1, "val_loss 0.3", "drop: rotated"},
      {"", 8 * H, 2, "val_loss 0.3", NO_RULE},
      {"", 7 * H, 3, "val_loss 0.0", "keep: best val_loss 0.2"},
      {"", 6 * H, 4, "val_loss nan", NO_RULE},
      {"", 5 * H, 5, "val_loss 0.3",
       NO_RULE}, /* the same mean of the same values in another order */
      {"", 4 * H, 6, "", "keep: latest"}}},
    {"nothing tells the best: nothing goes for that",
     "keep best 1",
     {{"", 9 * H, 1, "train_loss 0.3", "keep: no metric tells the best"},
      {"", 8 * H, 2, "", "keep: latest"}}},
    {"the policy's metric never came",
     "metric val_loss min\nkeep best 1",
     {{"", 9 * H, 1, "val_acc 0.3", "keep: no val_loss is known to tell the best"},
      {"", 8 * H, 2, "", "keep: latest"}}},
    {"a metric without a direction",
     "keep best 1 by fluff",
     {{"", 9 * H, 1, "fluff 1", "keep: is min or max better of fluff? a metric line tells"},
      {"", 8 * H, 2, "fluff 2", "keep: latest"}}},
};

static void test_what_is_best(void **state)
{
    (void)state;
    CHECK(of_the_best);
}

/* Every other example has saves in the order of the clock. */
static void test_a_clock_that_jumps(void **state)
{
    static const struct example examples[] = {
        {"the order is that of saves",
         "keep last 2",
         {{"", 1 * H, 1, "", NO_RULE},
          {"", 9 * H, 2, "", "keep: last 2"},
          {"", 5 * H, 3, "", "keep: latest"}}},
        {"after a wrong future time goes on from there",
         "keep every 2h",
         {{"", 10 * H, 1, "", "keep: every 2h"},
          {"", -900 * D, 2, "", "keep: every 2h"},
          {"", 9 * H, 3, "", NO_RULE},
          {"", 8 * H, 4, "", NO_RULE},
          {"", 7 * H, 5, "", "keep: every 2h"},
          {"", 6 * H, 6, "", NO_RULE},
          {"", 5 * H, 7, "", "keep: latest"}}},
        {"within counts corrected time",
         "keep within 3h",
         {{"", -900 * D, 1, "", NO_RULE},
          {"", 9 * H, 2, "", NO_RULE},
          {"", 8 * H, 3, "", "keep: within 3h"},
          {"", 7 * H, 4, "", "keep: within 3h"},
          {"", 5 * H, 5, "", "keep: latest"}}},
        {"what was overwritten in the future stays",
         NULL,
         {{"o", 9 * H, 1, "", "keep: overwritten less than 7d ago", 0, -100 * D},
          {"", 8 * H, 2, "", "keep: latest"}}},
    };
    (void)state;
    CHECK(examples);
}

static void test_reasons_have_names(void **state)
{
    (void)state;
    for (enum ckpt_policy_reason r = CKPT_REASON_WRITING; r <= CKPT_REASON_DROPPED; r++) {
        assert_non_null(ckpt_policy_reason_name(r));
        assert_string_not_equal(ckpt_policy_reason_name(r), "unknown");
        for (enum ckpt_policy_reason q = CKPT_REASON_WRITING; q < r; q++) {
            assert_string_not_equal(ckpt_policy_reason_name(r), ckpt_policy_reason_name(q));
        }
    }
    assert_string_equal(ckpt_policy_reason_name(CKPT_REASON_NO_RULE), "no_rule");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_rule),           cmocka_unit_test(test_never_rotated),
        cmocka_unit_test(test_without_a_keep_rule), cmocka_unit_test(test_grace),
        cmocka_unit_test(test_what_is_best),        cmocka_unit_test(test_a_clock_that_jumps),
        cmocka_unit_test(test_reasons_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
