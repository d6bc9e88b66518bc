# ruff: noqa: E501  a table, one mutation a line
"""Several machines: the disk that they share, a process that is lost."""

SHARED = "summarize_rlhf/run/shared_disk.py"
ERRORS = "summarize_rlhf/run/errors.py"

# fmt: off
ROWS = [
    ("a machine without the disk is not told of", "summarize_rlhf/run/run_directory.py", "    check_disk_is_shared(path / MARKER)\n", "", "run/test_shared_disk.py::test_one_that_the_second_does_not_see"),
    ("each machine tells of its own directory", SHARED, "content, first, directory = broadcast_object_list(written)[0]", "content, first, _ = broadcast_object_list(written)[0]\n    directory = file.parent", "run/test_shared_disk.py::test_one_that_the_second_does_not_see"),
    ("the machine that sees it goes on", SHARED, "    if told:\n", "    if found:\n", "run/test_shared_disk.py::test_one_that_the_second_does_not_see"),
    ("an old copy is the directory", SHARED, "if file.read_bytes() == content:", "if file.read_bytes():", "run/test_shared_disk.py::test_an_old_copy_is_not_the_directory"),
    ("a late file is given up", SHARED, "if time.monotonic() > deadline:", "if deadline:", "run/test_shared_disk.py::test_a_file_system_that_shows_it_late"),
    ("a lost process is a traceback", ERRORS, "            if lost is None:\n", "            if lost:\n", "run/test_errors.py::test_a_process_that_is_lost_is_one_line_and_exit_code_1"),
    ("every error of torch is a lost process", "summarize_rlhf/run/lost_process.py", " and GLOO not in text:", " and not text:", "run/test_errors.py::test_errors_of_another_kind_keep_their_traceback"),
]
