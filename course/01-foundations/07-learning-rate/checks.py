"""Checks of exercise 1.7. They run in the order in which they stand; the first that fails is the diagnosis."""

import torch

from teachllm.school.checks import diagnosis

LATE = 10**6  # by then bias correction changes nothing


def normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape, dtype=torch.float64)


@diagnosis(
    zh="要返回三个张量：新的权重、m、v，形状都和权重一样。",
    en="Return three tensors: the new weights, m and v, each of the shape of the weights.",
)
def test_three_tensors_come_back(implementation):
    w, g, m, v = normal(3, 4, seed=0), normal(3, 4, seed=1), zeros(3, 4), zeros(3, 4)
    got = implementation(w, g, m, v, 1, 0.1)
    assert len(got) == 3
    assert [tuple(t.shape) for t in got] == [(3, 4)] * 3


@diagnosis(
    zh="权重朝梯度的同一个方向走了，损失会变大。更新是减去的。",
    en="The weights move along the gradient, and the loss grows. The update is subtracted.",
)
def test_the_step_goes_against_the_gradient(implementation):
    g = normal(6, seed=2)
    moved, *_ = implementation(zeros(6), g, zeros(6), zeros(6), 1, 0.1, (0.9, 0.999), 1e-8, 0.0)
    assert bool((moved * g < 0).all())


@diagnosis(
    zh="m 不对。它是梯度的滑动平均：旧的 m 乘 β₁，新的梯度乘 1 − β₁。betas 的第一个是 β₁。",
    en="m is wrong. It is the moving average of the gradient: the old m times β₁, the new gradient times 1 − β₁. β₁ is the first of betas.",
)
def test_m_is_the_moving_average_of_the_gradient(implementation):
    w, g, m, v = (normal(5, seed=seed) for seed in (3, 4, 5, 6))
    _, new_m, _ = implementation(w, g, m, v.abs(), LATE, 0.1, (0.8, 0.99), 1e-8, 0.0)
    torch.testing.assert_close(new_m, 0.8 * m + 0.2 * g)


@diagnosis(
    zh="v 不对。它是梯度**平方**的滑动平均，用 β₂：旧的 v 乘 β₂，g² 乘 1 − β₂。",
    en="v is wrong. It is the moving average of the **squared** gradient, with β₂: the old v times β₂, g² times 1 − β₂.",
)
def test_v_is_the_moving_average_of_the_square(implementation):
    w, g, m, v = (normal(5, seed=seed) for seed in (7, 8, 9, 10))
    _, _, new_v = implementation(w, g, m, v.abs(), LATE, 0.1, (0.8, 0.99), 1e-8, 0.0)
    torch.testing.assert_close(new_v, 0.99 * v.abs() + 0.01 * g**2)


@diagnosis(
    zh="你把修正过的 m 或 v 当作状态返回了。下一步会在修正过的数上再平均、再修正。修正只用在更新里。",
    en="You return the corrected m or v as state. The next step would average and correct what is corrected already. Correction is for the update only.",
)
def test_the_state_is_not_corrected(implementation):
    w, g = normal(5, seed=11), normal(5, seed=12)
    _, m, v = implementation(w, g, zeros(5), zeros(5), 1, 0.1, (0.9, 0.999), 1e-8, 0.0)
    torch.testing.assert_close(m, 0.1 * g)
    torch.testing.assert_close(v, 0.001 * g**2)


@diagnosis(
    zh="没有偏差修正，或者只修正了一个，或者步数差了 1。m、v 从 0 开始，第一步的更新应当正好是学习率那么大，不管梯度是 0.001 还是 1000。",
    en="Bias correction is missing, or only one of the two is corrected, or the step is off by one. m and v start at 0; the first update must be exactly as long as the learning rate, whether the gradient is 0.001 or 1000.",
)
def test_the_first_update_is_the_learning_rate(implementation):
    g = torch.tensor([0.001, -1.0, 1000.0], dtype=torch.float64)
    moved, *_ = implementation(zeros(3), g, zeros(3), zeros(3), 1, 0.1, (0.9, 0.999), 1e-12, 0.0)
    torch.testing.assert_close(moved, -0.1 * g.sign(), atol=1e-6, rtol=0)


@diagnosis(
    zh="偏差修正没有随步数变。除数是 1 − β 的 t 次方，t 是步数：第一步修正得多，以后越来越少。",
    en="Bias correction does not follow the step. The divisor is 1 − β to the power t, with t the step: much at first, less and less later.",
)
def test_correction_fades_with_the_steps(implementation):
    w, g, m, v = (normal(5, seed=seed) for seed in (13, 14, 15, 16))
    for step in (2, 7, 100):
        moved, new_m, new_v = implementation(w, g, m, v.abs(), step, 0.1, (0.9, 0.99), 1e-8, 0.0)
        m_hat, v_hat = new_m / (1 - 0.9**step), new_v / (1 - 0.99**step)
        # 1e-3 leaves the place of eps to the next check.
        torch.testing.assert_close(moved, w - 0.1 * m_hat / v_hat.sqrt(), atol=1e-3, rtol=0)


@diagnosis(
    zh="eps 的位置不对：它加在根号外面，而且加在修正过的 √v̂ 上。放进根号里，小梯度时分母会大得多。",
    en="eps is in the wrong place: it stands outside the root, and is added to the corrected √v̂. Inside the root it makes the denominator far larger for small gradients.",
)
def test_eps_stands_outside_the_root(implementation):
    g = torch.tensor([1e-4, 1e-2], dtype=torch.float64)
    moved, *_ = implementation(zeros(2), g, zeros(2), zeros(2), 1, 1.0, (0.9, 0.999), 1e-3, 0.0)
    torch.testing.assert_close(moved, -g / (g + 1e-3))


@diagnosis(
    zh="权重衰减混进了梯度，也就是 L2。它会被 √v̂ 除掉。AdamW 的衰减直接作用在权重上，不进 m 和 v。",
    en="Weight decay has gone into the gradient: that is L2, and √v̂ divides it away. In AdamW the decay acts on the weights alone and never enters m or v.",
)
def test_decay_does_not_enter_the_state(implementation):
    w = normal(5, seed=17)
    _, m, v = implementation(w, zeros(5), zeros(5), zeros(5), 1, 0.1, (0.9, 0.999), 1e-8, 0.5)
    assert not bool(m.any())
    assert not bool(v.any())


@diagnosis(
    zh="衰减的量不对。梯度是 0 时，一步以后权重应当是原来的 1 − lr·weight_decay 倍：衰减要乘学习率，而且是往小里缩。",
    en="The decay is off. With a gradient of 0 the weights must be 1 − lr·weight_decay times what they were: the decay is multiplied by the learning rate, and it shrinks.",
)
def test_decay_alone_shrinks_by_lr_times_decay(implementation):
    w = normal(5, seed=18)
    moved, *_ = implementation(w, zeros(5), zeros(5), zeros(5), 1, 0.1, (0.9, 0.999), 1e-8, 0.5)
    torch.testing.assert_close(moved, 0.95 * w)


@diagnosis(
    zh="连续走 20 步，和 torch.optim.AdamW 对不上。看看衰减是不是乘在了**更新以后**的权重上：它只缩旧权重。",
    en="Over 20 steps it parts from torch.optim.AdamW. See whether the decay multiplies the weights **after** the update: it shrinks the old ones only.",
)
def test_twenty_steps_agree_with_torch(implementation):
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        w = normal(4, 3, seed=19).to(dtype)
        m, v = torch.zeros_like(w), torch.zeros_like(w)
        theirs = torch.nn.Parameter(w.clone())
        optimizer = torch.optim.AdamW([theirs], lr=0.05, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.7)
        for step in range(1, 21):
            g = normal(4, 3, seed=100 + step).to(dtype)
            theirs.grad = g.clone()
            optimizer.step()
            w, m, v = implementation(w, g, m, v, step, 0.05, (0.9, 0.95), 1e-8, 0.7)
            torch.testing.assert_close(w, theirs.detach(), atol=tolerance, rtol=tolerance)


@diagnosis(
    zh="传进来的张量被你改动了（例如用了 mul_ 或 +=）。训练还要用它们，返回新的张量。",
    en="You changed a tensor that was passed in (with mul_ or +=, say). Training still needs it; return new tensors.",
)
def test_the_arguments_stay_as_they_were(implementation):
    w, g, m, v = (normal(3, seed=seed) for seed in (20, 21, 22, 23))
    implementation(w, g, m, v.abs(), 3, 0.1)
    assert implementation.mutated == []
