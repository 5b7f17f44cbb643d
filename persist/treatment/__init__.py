"""Treatment: plans and tables into schedules, schedules into exposure, rules that look at the burden, the drugs."""
