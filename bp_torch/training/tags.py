"""What TensorBoard shows of a run, in the order of the chain rule, each tag with what it means."""

import re

SHARES = ("shares/1_dC_dy_hat", "shares/2_dy_hat_dz", "shares/3_dz_dw", "shares/4_delta")

_SOME = ", of a large table over some of them"
_SHARE = "log₁₀ of its share of what it was at the start: −1 is a tenth, −2 a hundredth."

TAGS = {
    "cost/train": f"The cost over the training samples{_SOME}.",
    "cost/test": f"The cost over the samples held out{_SOME}.",
    "accuracy/train": f"Share of training samples whose class is right{_SOME}.",
    "accuracy/test": f"Share of the samples held out whose class is right{_SOME}.",
    "chain/1_dC_dy_hat": (
        "First factor, ∂C/∂ŷ at the output layer, root mean square: how the cost answers to the "
        "output. It falls as the outputs become right."
    ),
    "chain/2_dy_hat_dz": (
        "Second factor, σ′(z) = ŷ(1 − ŷ) at the output layer, root mean square: how the output "
        "answers to z. At most ¼; it falls as units saturate."
    ),
    "chain/3_dz_dw": (
        "Third factor, ∂z/∂w at the output layer, root mean square: what its weights are "
        "multiplied with. Constant without a hidden layer, where it is the data."
    ),
    "chain/4_delta": (
        "Their product but for the last, δ = ∂C/∂z at the output layer, root mean square: what "
        "arrives at z, and all that lower layers learn from."
    ),
    "shares/1_dC_dy_hat": f"∂C/∂ŷ, {_SHARE}",
    "shares/2_dy_hat_dz": f"σ′(z), {_SHARE}",
    "shares/3_dz_dw": f"∂z/∂w, {_SHARE} Only with a hidden layer, since the data do not change.",
    "shares/4_delta": f"δ, {_SHARE} It is not the sum of the others: samples differ.",
    "saturation/wrong": (
        "Share of outputs with σ′ < 0.01 that are off by more than ½: badly wrong, and hardly "
        "learning."
    ),
    "saturation/right": "Share of outputs with σ′ < 0.01 that are right: nothing left to learn.",
    "saturation/hidden": "Share of hidden units, over all samples, with σ′ < 0.01.",
    "gradient/norm": "‖∂C/∂θ‖ of the step taken, over all parameters θ.",
    "update/relative_size": "ν‖∂C/∂θ‖/‖θ‖: how far the step moves the parameters, to their size.",
    "compare/by_hand": (
        "Error of the gradient by hand against float64, in rounding units of what each entry is "
        "made of, the worst since the record before. Up to 4 it is right."
    ),
    "compare/autograd": "The same of autograd's gradient.",
    "weights/layer_N": "Weights of layer N.",
    "sigmoid_prime/layer_N": (
        "σ′ of the units of layer N for the training samples, at most 10,000 of these numbers. ¼, "
        "at the right, is the most there is; below 0.01, at the left, a unit hardly learns."
    ),
    "classes/precision_recall": "Precision over recall on the samples held out, at the end.",
    "pictures/sigma_prime": "σ with the training samples of the first output on it, and σ′ below.",
    "pictures/cost_surface": (
        "The cost over the two weights of the first layer that moved most, and the way that the "
        "descent took; the other weights as they are at the end."
    ),
    "pictures/weights": (
        "The largest weights with their features' names, of a neuron or of the first output; only "
        "without a hidden layer."
    ),
    "pictures/calibration": (
        "Where the output says p, how often the samples held out are class 1: on the dashed line "
        "probabilities are what they say."
    ),
    "pictures/delta": "δ in each layer over the steps: where it is pale, little is learnt.",
    "run/1_first_step": "The first step of this run, worked in numbers for one sample.",
    "run/2_tags": "What each tag means.",
    "run/3_command": "The command that gives this run again, and the versions it ran with.",
}
"""Each tag, as its own chart says it. N stands for a layer's number, from 1."""

LAYOUT = {
    "chain rule": {
        "each factor and their product δ, log10 of the share of its start": [
            "Multiline",
            list(SHARES),
        ],
        "cost": ["Multiline", ["cost/train", "cost/test"]],
        "saturated outputs: wrong and right": [
            "Multiline",
            ["saturation/wrong", "saturation/right"],
        ],
    }
}
"""The charts under Custom Scalars."""


def general(tag: str) -> str:
    """The tag with N for a layer's number."""
    return re.sub(r"layer_\d+", "layer_N", tag)


def glossary() -> str:
    """All tags with their meaning, in Markdown."""
    rows = [f"| {tag} | {meaning} |".replace("‖", "&#8214;") for tag, meaning in TAGS.items()]
    return "\n".join(["| tag | what it means |", "|---|---|", *rows])
