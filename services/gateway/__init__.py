"""Every way in: the API, the pages and mails by SMTP; the read models, evidence and mass actions behind them."""
