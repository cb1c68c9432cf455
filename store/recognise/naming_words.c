#include "naming_words.h"
#include <string.h>
#include <strings.h>

/* Words, with a space on each side. */
struct row {
    enum ckpt_word word;
    const char *list;
};

static const struct row rows[] = {
    {CKPT_WORD_EPOCH, " epoch epochs ep epo "},
    {CKPT_WORD_STEP, " step steps globalstep gs iter iters iteration iterations it itr update updates ba "},
    {CKPT_WORD_SEED, " seed rs randomseed "},
    {CKPT_WORD_FOLD, " fold cv split "},
    {CKPT_WORD_RUN, " run exp experiment trial attempt try "},
    {CKPT_WORD_RANK, " rank "},
    {CKPT_WORD_VERSION, " v "},
    {CKPT_WORD_METRIC,
     " loss losses acc accuracy bacc bas top1 top5 acc1 acc5 prec1 prec5 precision recall f1 f1score fscore f2 auc auroc"
     " auprc roc iou miou giou dice dsc jaccard map map50 ap ap50 ap75 mar bleu bleu4 sacrebleu chrf ter rouge rouge1"
     " rouge2 rougel meteor cider spice wer cer per ppl perplexity bpb bpc bpd mae mse rmse mape smape rmsle r2"
     " psnr ssim lpips fid kid mrr ndcg hit hits error err eer reward return returns score metric metrics nll"
     " elbo kl kappa mcc em bce ce cross entropy pearson spearman corr ade fde epe absrel delta1 sdr sisdr pesq"
     " stoi mos winrate wr elo pass sensitivity specificity "},
    {CKPT_WORD_METRIC_PREFIX,
     " val valid validation eval evaluation test train training dev avg average mean mini min max macro micro weighted"
     " monitor total running "},
    {CKPT_WORD_METRIC_SUFFIX, " macro micro weighted avg mean score total val "},
    {CKPT_WORD_SETTING,
     " lr bs batch batchsize wd weight decay weightdecay dropout dim dims hidden layers layer heads depth width size crop res"
     " resolution patch alpha beta gamma lambda tau temp temperature momentum eps epsilon warmup gpu gpus"
     " node nodes workers ngpu samples tokens consumed accum k topk beam ctx context len maxlen length freq fps"
     " params neurons units filters rate noise sigma augment "},
    {CKPT_WORD_BEST, " best "},
    {CKPT_WORD_LAST, " last latest newest current "},
    {CKPT_WORD_FINAL, " final finished end "},
    {CKPT_WORD_WEIGHTS, " weights inference export exported slim stripped "},
    {CKPT_WORD_EMA, " ema swa averaged shadow "},
    {CKPT_WORD_OPTIMIZER, " optimizer optimizers optim opt optimiser "},
    {CKPT_WORD_FULL, " full resume trainer trainstate "},
    {CKPT_WORD_EXTRA,
     " scheduler schedulers lrscheduler rng scaler sampler args random hparams tokenizer vocab config dataloader "},
    {CKPT_WORD_GENERIC,
     " release model models checkpoint checkpoints ckpt ckpts chkpt cp net network state states statedict dict global save saved"
     " snapshot backup trained weightsonly only module params part shard data of on at in and the mp pp tp dp zero adam adamw sgd"
     " pytorch torch flax tf keras consolidated distrib "},
    {CKPT_WORD_PRECISION, " fp16 fp32 bf16 fp8 int8 int4 f16 f32 amp half float16 float32 bfloat16 nf4 q4 q8 tf32 "},
    {CKPT_WORD_DATASET,
     " imagenet imagenet1k imagenet21k in1k in21k cifar cifar10 cifar100 mnist fashionmnist emnist kmnist svhn stl10"
     " coco coco2014 coco2017 cityscapes ade20k ade voc voc2007 voc2012 pascal kitti nuscenes waymo celeba celebahq ffhq"
     " lsun places365 inat inaturalist food101 flowers102 caltech101 cub cub200 objects365 openimages lvis laion vggface2"
     " squad squadv2 glue superglue mnli snli sst2 cola qqp qnli rte mrpc imdb yelp agnews dbpedia wmt wmt14 wmt16"
     " iwslt iwslt14 multi30k wikitext wikitext2 wikitext103 wiki wikipedia c4 pile openwebtext owt redpajama"
     " slimpajama fineweb starcoder bookcorpus shakespeare enwik8 text8 tinystories alpaca dolly gsm8k mmlu xsum"
     " cnndm samsum librispeech libri ljspeech vctk commonvoice gigaspeech tedlium timit voxceleb audioset esc50"
     " speechcommands movielens criteo ogbn cora citeseer pubmed zinc qm9 chestxray chexpert isic brats"
     " kinetics kinetics400 ucf101 hmdb51 something shapenet modelnet40 scannet titanic iris "},
};

static const char families[] =
    " resnet resnext wideresnet wrn res2net regnet densenet vgg alexnet lenet googlenet inception xception mobilenet"
    " efficientnet shufflenet squeezenet convnext vit deit swin beit dino dinov2 clip siglip mae unet unet++ segformer"
    " deeplab fcn pspnet maskrcnn fasterrcnn rcnn retinanet yolo detr ssd fcos bert roberta distilbert albert electra"
    " deberta xlnet gpt gpt2 gptneo gptj opt bloom llama mistral mixtral gemma qwen phi falcon t5 flan bart pegasus mt5"
    " mamba rwkv lstm gru rnn cnn mlp transformer whisper wav2vec hubert tacotron fastspeech hifigan waveglow gan dcgan"
    " stylegan cyclegan pix2pix vae vqvae vqgan ddpm diffusion gcn gat graphsage pointnet ppo dqn sac td3 a2c nanogpt ";

static const char variants[] =
    " base large small tiny mini medium huge giant nano micro big xl xxl uncased cased chat instruct pretrained finetuned"
    " finetune scratch frozen baseline attention residual deep wide fast slow quantized pruned distilled teacher student"
    " encoder decoder backbone head generator discriminator policy value actor critic classifier detector segmentation"
    " classification regression lora qlora adapter sft rlhf dpo reward pretrain tuned test debug demo tmp copy old new ";

enum { LONGEST = 24 };

static char lower(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return (char)(c - 'A' + 'a');
    }
    return c;
}

/* Whether the list has the word. */
static bool has(const char *list, const char *word, size_t n)
{
    char key[LONGEST + 3];
    if (n == 0 || n > LONGEST) {
        return false;
    }
    key[0] = ' ';
    for (size_t i = 0; i < n; i++) {
        char c = word[i];
        key[1 + i] = lower(c);
        if (c == ' ') {
            return false;
        }
    }
    key[n + 1] = ' ';
    key[n + 2] = '\0';
    return strstr(list, key) != NULL;
}

enum ckpt_word ckpt_word_find(const char *word, size_t n)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (has(rows[i].list, word, n)) {
            return rows[i].word;
        }
    }
    return CKPT_WORD_NONE;
}

static const char *list_of(enum ckpt_word word)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].word == word) {
            return rows[i].list;
        }
    }
    return "";
}

size_t ckpt_word_prefix(const char *word, size_t n)
{
    static const char *const prefixes[] = {"validation", "training", "valid", "train", "test", "eval",
                                           "best",       "dev",      "val",   "avg",   "mean"};
    const char *metrics = list_of(CKPT_WORD_METRIC);
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        size_t prefix = strlen(prefixes[i]);
        if (n > prefix && strncasecmp(word, prefixes[i], prefix) == 0) {
            if (has(metrics, word + prefix, n - prefix)) {
                return prefix;
            }
            size_t more = ckpt_word_prefix(word + prefix, n - prefix);
            if (more > 0) {
                return prefix + more;
            }
        }
    }
    return 0;
}

bool ckpt_word_metric(const char *word, size_t n)
{
    return has(list_of(CKPT_WORD_METRIC), word, n) || ckpt_word_prefix(word, n) > 0;
}

bool ckpt_word_family(const char *word, size_t n)
{
    size_t letters = 0;
    while (letters < n && (word[letters] < '0' || word[letters] > '9')) {
        letters++;
    }
    return has(families, word, letters) || has(families, word, n);
}

bool ckpt_word_variant(const char *word, size_t n)
{
    return has(variants, word, n);
}
