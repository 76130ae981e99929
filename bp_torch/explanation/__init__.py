"""One step of backpropagation explained with the reader's own numbers.

`step` works the numbers out, `story` and `why` put them into words, as sections (`document`); text,
Markdown and page are views of those.
"""

from bp_torch.explanation.explanation import Explanation, example, explain

__all__ = ["Explanation", "example", "explain"]
