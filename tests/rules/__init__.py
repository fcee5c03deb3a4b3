"""The rules of windows, told a second time: plainly, slowly, and without a look at the core."""
