"""The same work, ours and others', each as its own users would write it."""
