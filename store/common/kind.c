#include <ckpt/kind.h>

const char *ckpt_framework_name(enum ckpt_framework framework)
{
    static const char *const names[CKPT_FRAMEWORKS] = {
        [CKPT_FRAMEWORK_NONE] = "plain",           [CKPT_FRAMEWORK_TRANSFORMERS] = "transformers",
        [CKPT_FRAMEWORK_ACCELERATE] = "accelerate", [CKPT_FRAMEWORK_DEEPSPEED] = "deepspeed",
        [CKPT_FRAMEWORK_DCP] = "dcp",              [CKPT_FRAMEWORK_MEGATRON] = "megatron",
        [CKPT_FRAMEWORK_NEMO] = "nemo",            [CKPT_FRAMEWORK_LIGHTNING] = "lightning",
        [CKPT_FRAMEWORK_ORBAX] = "orbax",          [CKPT_FRAMEWORK_TORCHSNAPSHOT] = "torchsnapshot",
        [CKPT_FRAMEWORK_RAY] = "ray",
    };
    return names[framework];
}

const char *ckpt_holds_name(enum ckpt_holds holds)
{
    static const char *const names[CKPT_HOLDINGS] = {
        [CKPT_HOLDS_UNKNOWN] = "unknown", [CKPT_HOLDS_FULL] = "full",           [CKPT_HOLDS_WEIGHTS] = "weights",
        [CKPT_HOLDS_EMA] = "ema",         [CKPT_HOLDS_OPTIMIZER] = "optimizer", [CKPT_HOLDS_EXTRA] = "extra",
    };
    return names[holds];
}
