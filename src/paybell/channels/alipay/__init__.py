"""Alipay's gateway: RSA2 over sorted pairs, amounts in yuan, times in Beijing."""
