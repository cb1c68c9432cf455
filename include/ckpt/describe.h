/*
 * A checkpoint as a JSON document: what RUN/.ckpt/VIEW/info.json and `ckpt show --json` say.
 *
 *     {"id": "00c0ffee00c0ffee", "run": "sweep/lr3", "root": "epoch_7.pt", "number": 7,
 *      "epoch": 7, "step": null, "kind": "full", "resumable": true, "state": "complete", "why": "...", "framework": "plain",
 *      "saved": "2026-03-01T10:00:00.250Z",
 *      "metrics": {"val_loss": {"value": 0.21, "source": "metrics", "by": "epoch", "path": "sweep/lr3/log.csv"}},
 *      "files": [{"path": "epoch_7.pt", "size": 100, "version": 1, "kind": "full"}],
 *      "size": 100, "added": 40, "tags": ["stable"], "pinned": false, "left": null, "hidden": false, "dropped": false,
 *      "parent": null, "process": {...}, "naming": {"model": "resnet50", "seed": 3}, "kept": "keep: latest"}
 *
 * Every key is always there, null where nothing is known, but for those in "naming", "path" of a metric that isn't from a
 * file, and "kept", which is there with a verdict. "files" has what is shown, under the names that it is shown by. A number
 * that JSON can't say is a string: "nan", "inf", "-inf". Times are UTC. Bytes of names that aren't UTF-8 become \xNN.
 *
 * Thread rules: RUN is held by the caller (ckpt/run.h), or its own.
 */
#ifndef CKPT_DESCRIBE_H
#define CKPT_DESCRIBE_H

#include <ckpt/err.h>
#include <ckpt/policy.h>
#include <ckpt/run.h>
#include <ckpt/store.h>

/* VERDICT may be NULL. *JSON: indented, with a newline at its end, to be freed by the caller. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_describe(struct ckpt_runs *runs, struct ckpt_store *store, const struct ckpt_run *run,
                                          const struct ckpt_checkpoint *c, const struct ckpt_policy_verdict *verdict,
                                          char **json);

#endif
