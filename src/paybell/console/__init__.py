"""What people see in a browser: the cashier page and the operations console."""
