"""Mails that come in by SMTP: kept, read, believed or not, and brought into their case."""
