"""Time and attention: deadlines, reminders, check-ins, rules that decide small cases, issue rates, outages."""
