#!/usr/bin/python3
"""Trains a small network for real and saves a checkpoint per epoch, the way a user's script does.

    trainer.py RUN [--epochs N] [--seed N] [--name NAME] [--width N] [--stall N]

A few noisy samples and too many parameters: after some epochs the network learns the noise, so the best epoch is
neither the first nor the last. Writes, per epoch:

    metrics.csv                         epoch,step,train_loss,val_loss
    NAME_epoch_EE_valLoss_V.pt          full state: model, AdamW, epoch, val_loss, random state
    weights_bf16_epoch_EE.pt            weights only, bfloat16
    last.pt                             the full state again, overwritten in place

--stall N: stops in the middle of writing the full state of epoch N, says "stalled", and waits to be killed.
"""
import argparse
import csv
import io
import os
import time

import torch

STEPS = 12  # per epoch


def data(seed, count, noise):
    """What there is to learn is simple: one direction of 16."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 16, generator=generator)
    return x, x[:, :1] + noise * torch.randn(count, 1, generator=generator)


def network(width):
    return torch.nn.Sequential(torch.nn.Linear(16, width), torch.nn.ReLU(), torch.nn.Linear(width, width),
                               torch.nn.ReLU(), torch.nn.Linear(width, 1))


def stall(state, path):
    """Half of the file, then nothing more."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with open(path, "wb") as file:
        file.write(buffer.getvalue()[:buffer.tell() // 2])
        file.flush()
        print("stalled", flush=True)
        while True:
            time.sleep(60)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", default="mlp_waves")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--stall", type=int)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    train_x, train_y = data(2 * args.seed, 48, 1.0)
    valid_x, valid_y = data(2 * args.seed + 1, 256, 0.1)
    model = network(args.width)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    os.makedirs(args.run, exist_ok=True)
    with open(f"{args.run}/metrics.csv", "w", buffering=1) as file:
        log = csv.writer(file)
        log.writerow(["epoch", "step", "train_loss", "val_loss"])
        for epoch in range(1, args.epochs + 1):
            for _ in range(STEPS):
                loss = torch.nn.functional.mse_loss(model(train_x), train_y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                val_loss = torch.nn.functional.mse_loss(model(valid_x), valid_y).item()
            log.writerow([epoch, epoch * STEPS, f"{loss.item():.6f}", f"{val_loss:.6f}"])
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch,
                     "val_loss": val_loss, "random": torch.get_rng_state()}
            path = f"{args.run}/{args.name}_epoch_{epoch:02d}_valLoss_{val_loss:.3f}.pt"
            if epoch == args.stall:
                stall(state, path)
            torch.save(state, path)
            torch.save({name: tensor.bfloat16() for name, tensor in model.state_dict().items()},
                       f"{args.run}/weights_bf16_epoch_{epoch:02d}.pt")
            torch.save(state, f"{args.run}/last.pt")
            print(f"epoch {epoch} train {loss.item():.4f} val {val_loss:.4f}", flush=True)


if __name__ == "__main__":
    main()
