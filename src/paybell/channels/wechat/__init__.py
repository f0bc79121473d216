"""WeChat Pay, API v3: JSON signed in headers, amounts in fen, notices encrypted."""
