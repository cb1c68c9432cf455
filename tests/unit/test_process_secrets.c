/*
 * Which parts of a command line are secrets. Arguments stand between "|".
 */
#include "unit.h"

#include "provenance/process.h"

/* The tokens are made up; their prefixes stand apart, or scanners would take this file for a leak. */
static const struct {
    const char *given;
    const char *expected; /* NULL: as it was */
} cases[] = {
    /* What trainings are started with. */
    {"python|train.py|--lr|1e-4|--epochs|90|--wd|0.05", NULL},
    {"--token-dropout|0.1", NULL},
    {"--max-tokens|4096", NULL},
    {"--max_new_tokens=128", NULL},
    {"--max-token|4096|--pad-token|<pad>|--eos_token|</s>", NULL},
    {"--tokenizer|gpt2", NULL},
    {"--tokenizer_name_or_path=meta-llama/Meta-Llama-3-8B-Instruct", NULL},
    {"--model|Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", NULL},
    {"timm/vit_base_patch16_224.augreg2_in21k_ft_in1k", NULL},
    {"resnet50BatchNorm2dLinear3AdamW", NULL},
    {"resnet50v2imagenet1kpretrained224x224", NULL},
    {"--commit|0123456789abcdef0123456789abcdef01234567", NULL},
    {"--commit=0123456789abcdef0123456789abcdef01234567", NULL},
    {"--revision|9f3c1e7ab02d44e58c6a1b90f7d2e3c4a5b6d7e8", NULL},
    {"git|checkout|9f3c1e7ab02d44e58c6a1b90f7d2e3c4a5b6d7e8", NULL},
    {"package@9f3c1e7ab02d44e58c6a1b90f7d2e3c4a5b6d7e8", NULL},
    {"--run-id|9f3c1e7ab02d44e58c6a1b90f7d2e3c4", NULL},
    {"--id=550e8400-e29b-41d4-a716-446655440000", NULL},
    {"/home/u/.cache/huggingface/hub/models--x--y/snapshots/9f3c1e7ab02d44e58c6a1b90f7d2e3c4a5b6d7e8/model.bin", NULL},
    {"/data/aB3dE5fG7hJ9kL2mN4pQ6rS8tU0v/train", NULL},
    {"outputs/9f3c1e7ab02d44e58c6a1b90f7d2e3c4/last.ckpt", NULL},
    {"--key|image|--sort-key|length|--monkey|1", NULL},
    {"--pwd|/work", NULL},
    {"model.encoder.key_dim=64", NULL},
    {"https://huggingface.co/bert-base-uncased@main", NULL},
    {"s3://bucket/run/last.ckpt", NULL},
    {"--endpoint|http://10.0.0.1:8080/v1", NULL},
    {"--master_addr=node-17|--master_port=29500", NULL},
    {"--timestamp|20241124T153000|--range|100000000000000000000000000000000000", NULL},
    {"CUDA_VISIBLE_DEVICES=GPU-8f9d1c2e-3b4a-5d6e-7f80-91a2b3c4d5e6", NULL},
    {"sk-learn-experiments-baseline", NULL},
    {"--use-auth-token|--lr|1e-4", NULL},
    {"sh|-c|cd /work && python train.py --lr 1e-4 'two words'", NULL},
    {"", NULL},
    {"a||b", NULL},

    /* Options and assignments. */
    {"--api-key|abc", "--api-key|***"},
    {"--api_key=abc|--lr|1", "--api_key=***|--lr|1"},
    {"--apiKey|abc", "--apiKey|***"},
    {"--token|abc|--lr|1", "--token|***|--lr|1"},
    {"--hf-token=abc", "--hf-token=***"},
    {"--hub_token|abc", "--hub_token|***"},
    {"--password|two words|x", "--password|***|x"},
    {"--password=two words", "--password=***"},
    {"-password|abc", "-password|***"},
    {"--db-pwd|abc", "--db-pwd|***"},
    {"--client-secret|abc", "--client-secret|***"},
    {"--secret-value|abc", "--secret-value|***"},
    {"logger.api_key=abc", "logger.api_key=***"},
    {"+logger.wandb.key=abc", "+logger.wandb.key=***"},
    {"env|HF_TOKEN=abc|WANDB_API_KEY=d,e&f|python", "env|HF_TOKEN=***|WANDB_API_KEY=***|python"},
    {"HF_TOKEN=|python", NULL},
    {"AWS_SECRET_ACCESS_KEY=abc", "AWS_SECRET_ACCESS_KEY=***"},
    {"--opt=name=x,token=abc,lr=1", "--opt=name=x,token=***,lr=1"},
    {"conf/api_key=abc", "conf/api_key=***"},
    {"{\"api_key\":\"abc\",\"lr\":1}", "{\"api_key\":***\",\"lr\":1}"},
    {"{\"api_key\": \"abc\", \"lr\": 1}", "{\"api_key\": *** \"lr\": 1}"},

    /* A command line in a string. */
    {"sh|-c|HF_TOKEN=abc python train.py --password def --lr 1", "sh|-c|HF_TOKEN=*** python train.py --password *** --lr 1"},
    {"sh|-c|train --password 'd e' --lr 1", "sh|-c|train --password *** --lr 1"},
    {"curl|-H|Authorization: Bearer abc", "curl|-H|Authorization: *** ***"},

    /* Addresses. */
    {"https://user:abc@host/x", "https://***@host/x"},
    {"--store=postgresql://u:a:b@c@host:5432/db", "--store=postgresql://***@host:5432/db"},
    {"https://host/x?a=1&access_token=abc&b=2", "https://host/x?a=1&access_token=***&b=2"},

    /* Tokens of known forms. */
    {"hf_" "abcdefghijklmnopqrstuvwxyzABCDEFGH", "***"},
    {"x=hf_" "abcdefghijklmnopqrstuvwxyzABCDEFGH,y", "x=***,y"},
    {"sk-" "proj-abcdefghijklmnop_qrstuvwxyz0123", "***"},
    {"--x|ghp_" "abcdefghijklmnopqrstuvwxyz0123456789", "--x|***"},
    {"AKIA" "ABCDEFGHIJKLMNOP", "***"},
    {"xoxb-" "123456789012-abcdefghijkl", "***"},
    {"eyJ" "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_def-ghi", "***"},
    {"/mnt/hf_" "abcdefghijklmnopqrstuvwxyzABCDEFGH/x", "/mnt/***"},

    /* Long random words. */
    {"wandb|login|9f3c1e7ab02d44e58c6a1b90f7d2e3c4a5b6d7e8", "wandb|login|***"},
    {"--x|aB3dE5fG7hJ9kL2mN4pQ6rS8tU0v", "--x|***"},
    {"kT9vLq2xWz/B7nJ4mHs8/Yc3RfP6dGa1EuX0bIoN", "***"},
    {"--commit|aB3dE5fG7hJ9kL2mN4pQ6rS8tU0v", "--commit|***"},
};

/* "a|b" as strings, each with its NUL. */
static struct ckpt_strings strings_of(const char *text)
{
    struct ckpt_strings strings = {.at = strdup(text), .size = strlen(text) + 1};
    assert_non_null(strings.at);
    for (size_t i = 0; i < strings.size; i++) {
        strings.at[i] = strings.at[i] == '|' ? '\0' : strings.at[i];
    }
    return strings;
}

static void secrets_are_replaced_and_nothing_else(void **state)
{
    (void)state;
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_strings given = strings_of(cases[i].given);
        struct ckpt_strings out = {0};
        const char *expected = cases[i].expected != NULL ? cases[i].expected : cases[i].given;
        assert_ok(ckpt_secret_redact(&given, &out));
        assert_int_equal(out.at[out.size - 1], '\0');
        for (size_t at = 0; at + 1 < out.size; at++) {
            out.at[at] = out.at[at] == '\0' ? '|' : out.at[at];
        }
        if (strcmp(out.at, expected) != 0) {
            print_error("%s\n  gave     %s\n  expected %s\n", cases[i].given, out.at, expected);
            wrong++;
        }
        free(given.at);
        free(out.at);
    }
    assert_int_equal(wrong, 0);
}

/* Whatever the bytes are: strings stay strings, as many as there were. */
static void any_bytes_are_copied_safely(void **state)
{
    static const char alphabet[] = "aA0-_=:/@\"' .+?&,{}tokenhf_sk-\\";
    (void)state;
    uint64_t seed = 1;
    for (unsigned round = 0; round < 20000; round++) {
        size_t n = 1 + unit_random(&seed) % 60;
        /* Exactly as big as it says, for the sanitizer. */
        struct ckpt_strings given = {.at = malloc(n), .size = n};
        struct ckpt_strings out = {0};
        size_t before = 0;
        size_t after = 0;
        for (size_t i = 0; i < n; i++) {
            uint64_t r = unit_random(&seed);
            given.at[i] = r % 16 == 0 ? '\0' : r % 16 == 1 ? (char)(r >> 8) : alphabet[(r >> 8) % (sizeof alphabet - 1)];
        }
        given.at[n - 1] = '\0';
        for (size_t i = 0; i < n; i++) {
            before += given.at[i] == '\0';
        }
        assert_ok(ckpt_secret_redact(&given, &out));
        for (size_t i = 0; i < out.size; i++) {
            after += out.at[i] == '\0';
        }
        assert_int_equal(before, after);
        free(given.at);
        free(out.at);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(secrets_are_replaced_and_nothing_else),
        cmocka_unit_test(any_bytes_are_copied_safely),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
