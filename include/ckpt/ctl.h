/*
 * The control protocol between ckpt and a running daemon, over the stream socket STORE/ctl.sock.
 *
 * One request, one answer, each one line of JSON (UTF-8, at most CKPT_CTL_LINE bytes); then the daemon closes.
 * PATH is relative to live/.
 *
 *   {"op":"status"}
 *   {"op":"flush"}                                    waits until everything closed so far is a version
 *   {"op":"forget","path":PATH,"versions":[1,2]}      waits until the space has been given back
 *   {"op":"forget_pending","path":PATH}               gives up what waits in pending/ under that name
 *   {"op":"demote","path":PATH}
 *   {"op":"views","path":PATH,"show":true}            makes removed views of a run visible again
 *
 * What ckpt/keep.h does. RUN is the id of the run's directory as 16 hexadecimal digits, N the checkpoint's number in it:
 *
 *   {"op":"tag","run":RUN,"checkpoint":N,"tag":NAME,"set":BOOL}
 *   {"op":"pin","run":RUN,"checkpoint":N,"set":BOOL}
 *   {"op":"metric","run":RUN,"checkpoint":N,"name":NAME,"value":NUMBER, "nan", "inf" or "-inf"}
 *   {"op":"undelete","run":RUN,"checkpoint":N}
 *   {"op":"finish","run":RUN,"set":BOOL}
 *   {"op":"policy","path":PATH,"text":TEXT or null}   null: takes it away
 *   {"op":"rotate","run":RUN or null}                 null: all runs
 *
 * Answers: {"ok":true, ...} or {"ok":false,"error":NAME,"message":TEXT} with NAME from ckpt_err_name() and TEXT a
 * complete sentence for the user.
 *
 * flush adds "still_open": files left out because they are open for writing.
 * forget_pending adds "files" and "bytes", the host bytes that came free.
 * rotate adds "hidden" and "dropped", checkpoints, "bytes", about, that came free, and "held", those that were to go and
 *   couldn't.
 * status adds: "pid", "mountpoint", "views" ("visible", "hidden"), "passthrough" (bool),
 *   "passthrough_text", "started" (seconds since the epoch), "queued_files", "queued_bytes", "hot_bytes",
 *   "hot_limit", "waiting_for_space" (bool), "stopped" (bool), "log" (path or null), "waiting": while waiting for
 *   space, up to 20 of the queued files as {"path", "bytes", "live" (bool): it has a name outside of pending/}.
 */
#ifndef CKPT_CTL_H
#define CKPT_CTL_H

#define CKPT_CTL_SOCKET "ctl.sock"
enum { CKPT_CTL_LINE = 1 << 20 };

#endif
