"""python -m summarize_rlhf.report_page: write the page of a run."""

import argparse
from pathlib import Path

from summarize_rlhf.report_page.page import FILES, home_of, write_report
from summarize_rlhf.run.errors import main_guard
from summarize_rlhf.run.files import check_results_dir


@main_guard
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m summarize_rlhf.report_page", description=__doc__)
    runs = "directory of a stage or of its tables, or the folder that holds them"
    home = "where the page goes (the first folder; for a stage's own directory: beside it)"
    parser.add_argument("run", type=Path, nargs="+", help=runs)
    parser.add_argument("--output_dir", type=Path, help=home)
    args = parser.parse_args()
    output_dir = args.output_dir or home_of(args.run[0])
    check_results_dir(output_dir)
    write_report(args.run, output_dir)
    print(f"wrote {output_dir}/: {', '.join(FILES)}")


if __name__ == "__main__":
    main()
