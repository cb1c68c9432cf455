/*
 * What a checkpoint is: whose layout it has, and what is in it.
 */
#ifndef CKPT_KIND_H
#define CKPT_KIND_H

/* Stable numbers: they are stored. */
enum ckpt_framework {
    CKPT_FRAMEWORK_NONE = 0, /* a plain file, or a directory of no known one */
    CKPT_FRAMEWORK_TRANSFORMERS = 1,
    CKPT_FRAMEWORK_ACCELERATE = 2,
    CKPT_FRAMEWORK_DEEPSPEED = 3,
    CKPT_FRAMEWORK_DCP = 4, /* torch.distributed.checkpoint, FSDP, torchtitan */
    CKPT_FRAMEWORK_MEGATRON = 5,
    CKPT_FRAMEWORK_NEMO = 6,
    CKPT_FRAMEWORK_LIGHTNING = 7,
    CKPT_FRAMEWORK_ORBAX = 8,
    CKPT_FRAMEWORK_TORCHSNAPSHOT = 9,
    CKPT_FRAMEWORK_RAY = 10,
    CKPT_FRAMEWORKS,
};

/* Stable numbers: they are stored. */
enum ckpt_holds {
    CKPT_HOLDS_UNKNOWN = 0,
    CKPT_HOLDS_FULL = 1, /* can resume training */
    CKPT_HOLDS_WEIGHTS = 2,
    CKPT_HOLDS_EMA = 3, /* averaged weights */
    CKPT_HOLDS_OPTIMIZER = 4,
    CKPT_HOLDS_EXTRA = 5, /* scheduler, random state, arguments */
    CKPT_HOLDINGS,
};

/* For people and --json ("transformers", "weights"); static storage. */
const char *ckpt_framework_name(enum ckpt_framework framework);
const char *ckpt_holds_name(enum ckpt_holds holds);

#endif
