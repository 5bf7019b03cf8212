"""Wrong versions of exercise 1.7 that real people write, each with the check that must catch it first."""

# torch is imported by the stub that a mutant stands in.
from teachllm.school.checks import mutant


@mutant("test_three_tensors_come_back")
def returns_the_weights_only(
    parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
):
    return (parameter - lr * gradient,)


@mutant("test_the_step_goes_against_the_gradient")
def goes_uphill(parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
    m = betas[0] * m + (1 - betas[0]) * gradient
    v = betas[1] * v + (1 - betas[1]) * gradient**2
    update = m / (1 - betas[0] ** step) / ((v / (1 - betas[1] ** step)).sqrt() + eps)
    return (1 - lr * weight_decay) * parameter + lr * update, m, v


@mutant("test_m_is_the_moving_average_of_the_gradient")
def momentum_without_one_minus_beta(
    parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
):
    m = betas[0] * m + gradient
    v = betas[1] * v + (1 - betas[1]) * gradient**2
    update = m / (1 - betas[0] ** step) / ((v / (1 - betas[1] ** step)).sqrt() + eps)
    return (1 - lr * weight_decay) * parameter - lr * update, m, v


@mutant("test_m_is_the_moving_average_of_the_gradient")
def betas_the_wrong_way_round(
    parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
):
    beta2, beta1 = betas
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * gradient**2
    update = m / (1 - beta1**step) / ((v / (1 - beta2**step)).sqrt() + eps)
    return (1 - lr * weight_decay) * parameter - lr * update, m, v


@mutant("test_v_is_the_moving_average_of_the_square")
def averages_the_absolute_value(
    parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
):
    m = betas[0] * m + (1 - betas[0]) * gradient
    v = betas[1] * v + (1 - betas[1]) * gradient.abs()
    update = m / (1 - betas[0] ** step) / (v / (1 - betas[1] ** step) + eps)
    return (1 - lr * weight_decay) * parameter - lr * update, m, v


@mutant("test_the_state_is_not_corrected")
def returns_the_corrected_state(
    parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
):
    m = (betas[0] * m + (1 - betas[0]) * gradient) / (1 - betas[0] ** step)
    v = (betas[1] * v + (1 - betas[1]) * gradient**2) / (1 - betas[1] ** step)
    return (1 - lr * weight_decay) * parameter - lr * m / (v.sqrt() + eps), m, v


@mutant("test_the_first_update_is_the_learning_rate")
def without_bias_correction(
    parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
):
    m = betas[0] * m + (1 - betas[0]) * gradient
    v = betas[1] * v + (1 - betas[1]) * gradient**2
    return (1 - lr * weight_decay) * parameter - lr * m / (v.sqrt() + eps), m, v


@mutant("test_the_first_update_is_the_learning_rate")
def counts_steps_from_zero(
    parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
):
    m = betas[0] * m + (1 - betas[0]) * gradient
    v = betas[1] * v + (1 - betas[1]) * gradient**2
    update = m / (1 - betas[0] ** (step + 1)) / ((v / (1 - betas[1] ** (step + 1))).sqrt() + eps)
    return (1 - lr * weight_decay) * parameter - lr * update, m, v


@mutant("test_correction_fades_with_the_steps")
def corrects_as_if_it_were_always_the_first_step(
    parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
):
    m = betas[0] * m + (1 - betas[0]) * gradient
    v = betas[1] * v + (1 - betas[1]) * gradient**2
    update = m / (1 - betas[0]) / ((v / (1 - betas[1])).sqrt() + eps)
    return (1 - lr * weight_decay) * parameter - lr * update, m, v


@mutant("test_eps_stands_outside_the_root")
def eps_inside_the_root(parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
    m = betas[0] * m + (1 - betas[0]) * gradient
    v = betas[1] * v + (1 - betas[1]) * gradient**2
    update = m / (1 - betas[0] ** step) / (v / (1 - betas[1] ** step) + eps).sqrt()
    return (1 - lr * weight_decay) * parameter - lr * update, m, v


@mutant("test_eps_stands_outside_the_root")
def eps_before_the_correction(
    parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
):
    m = betas[0] * m + (1 - betas[0]) * gradient
    v = betas[1] * v + (1 - betas[1]) * gradient**2
    rate = lr * (1 - betas[1] ** step) ** 0.5 / (1 - betas[0] ** step)
    return (1 - lr * weight_decay) * parameter - rate * m / (v.sqrt() + eps), m, v


@mutant("test_decay_does_not_enter_the_state")
def l2_in_the_gradient(parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
    gradient = gradient + weight_decay * parameter
    m = betas[0] * m + (1 - betas[0]) * gradient
    v = betas[1] * v + (1 - betas[1]) * gradient**2
    update = m / (1 - betas[0] ** step) / ((v / (1 - betas[1] ** step)).sqrt() + eps)
    return parameter - lr * update, m, v


@mutant("test_decay_alone_shrinks_by_lr_times_decay")
def decay_without_the_learning_rate(
    parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
):
    m = betas[0] * m + (1 - betas[0]) * gradient
    v = betas[1] * v + (1 - betas[1]) * gradient**2
    update = m / (1 - betas[0] ** step) / ((v / (1 - betas[1] ** step)).sqrt() + eps)
    return (1 - weight_decay) * parameter - lr * update, m, v


@mutant("test_decay_alone_shrinks_by_lr_times_decay")
def forgets_the_decay(parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
    m = betas[0] * m + (1 - betas[0]) * gradient
    v = betas[1] * v + (1 - betas[1]) * gradient**2
    update = m / (1 - betas[0] ** step) / ((v / (1 - betas[1] ** step)).sqrt() + eps)
    return parameter - lr * update, m, v


@mutant("test_twenty_steps_agree_with_torch")
def decays_what_was_updated(
    parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01
):
    m = betas[0] * m + (1 - betas[0]) * gradient
    v = betas[1] * v + (1 - betas[1]) * gradient**2
    update = m / (1 - betas[0] ** step) / ((v / (1 - betas[1] ** step)).sqrt() + eps)
    return (parameter - lr * update) * (1 - lr * weight_decay), m, v


@mutant("test_the_arguments_stay_as_they_were")
def averages_in_place(parameter, gradient, m, v, step, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
    m.mul_(betas[0]).add_(gradient, alpha=1 - betas[0])
    v.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    update = m / (1 - betas[0] ** step) / ((v / (1 - betas[1] ** step)).sqrt() + eps)
    return (1 - lr * weight_decay) * parameter - lr * update, m, v
