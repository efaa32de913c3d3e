"""One rule a file, each with its RULE; colotrace.analysis.findings.rule.all_rules() collects them."""
