"""One step of backpropagation explained with the reader's own numbers."""
