"""Who is told what, in which language, by mail, with proof of delivery."""
