"""The default U-Net on 28x28 in patches of 2x2, its training step and DDIM, with diffusers."""

from peers import Case, device, of_torch


def diffusers(case: Case) -> tuple:
    import torch
    from diffusers import DDIMScheduler, UNet2DModel
    from diffusers.training_utils import EMAModel

    net = UNet2DModel(
        sample_size=14, in_channels=4, out_channels=4, layers_per_block=1,
        block_out_channels=(24, 48), down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), norm_num_groups=6, norm_eps=1e-6,
        freq_shift=1, flip_sin_to_cos=False, downsample_padding=0, attention_head_dim=None,
    ).to(device())  # fmt: skip
    scheduler = DDIMScheduler(1000, clip_sample=True)
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    average = EMAModel(net.parameters(), decay=0.999)
    split, join = torch.nn.PixelUnshuffle(2), torch.nn.PixelShuffle(2)

    def step(x, y):
        x = split(2 * x - 1)
        t = torch.randint(1000, (len(x),), device=x.device)
        noise = torch.randn_like(x)
        found = net(scheduler.add_noise(x, noise, t), t).sample
        loss = (found - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        average.step(net.parameters())
        return (loss.detach(),)

    def predict(x):
        x = split(2 * x - 1)
        t = torch.full((len(x),), 249, device=x.device)
        return join(net(scheduler.add_noise(x, torch.randn_like(x), t), t).sample)

    def generate(count):
        scheduler.set_timesteps(case.generate["steps"])
        x = torch.randn(count, 4, 14, 14, device=device())
        for t in scheduler.timesteps:
            x = scheduler.step(net(x, t).sample, t, x).prev_sample
        return join(x)

    return of_torch(case, step, predict, [net], generate)


CASES = {
    "ddpm": Case("diffusion", "mnist", (28, 28, 1), 32, 8, {"diffusers": diffusers},
                 num_classes=None, values="unit", generate={"steps": 50},
                 why="convolutions: XLA takes as long as TensorFlow's own"),
}  # fmt: skip
