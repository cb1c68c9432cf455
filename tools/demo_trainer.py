"""A small real training that saves as users do: a numbered checkpoint per epoch, and last.* overwritten."""
import sys
import numpy as np

out = sys.argv[1]
rng = np.random.default_rng(1)
x = rng.standard_normal((2000, 64)).astype(np.float32)
y = np.tanh(x @ rng.standard_normal((64, 8)).astype(np.float32))
x, y, valid_x, valid_y = x[:1600], y[:1600], x[1600:], y[1600:]
w1 = rng.standard_normal((64, 2048)).astype(np.float32) * .1
w2 = rng.standard_normal((2048, 8)).astype(np.float32) * .02

try:
    import torch

    def save(state, name):
        torch.save({k: torch.from_numpy(v) for k, v in state.items()}, f"{out}/{name}.pt")
except ImportError:
    def save(state, name):
        np.savez(f"{out}/{name}.npz", **state)

log = open(f"{out}/metrics.csv", "w", buffering=1)
log.write("epoch,val_loss\n")
for epoch in range(1, 6):
    for _ in range(40):
        h = np.maximum(x @ w1, 0)
        e = (h @ w2 - y) / len(x)
        g2, g1 = h.T @ e, x.T @ ((e @ w2.T) * (h > 0))
        w1, w2 = w1 - .002 * g1, w2 - .002 * g2
    loss = float(((np.maximum(valid_x @ w1, 0) @ w2 - valid_y) ** 2).mean())
    print(f"epoch {epoch}  validation loss {loss:.4f}", flush=True)
    log.write(f"{epoch},{loss:.4f}\n")
    state = dict(w1=w1, w2=w2)
    save(state, f"epoch_{epoch:02d}")
    save(state, "last")
