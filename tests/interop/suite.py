"""Runs every test_*.py beside this file. The last line says how many passed and how many failed."""

import pathlib
import sys
import unittest


class Counted(unittest.TextTestResult):
    """Counts what passed, too."""

    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


def main():
    here = pathlib.Path(__file__).resolve().parent
    tests = unittest.defaultTestLoader.discover(str(here), top_level_dir=str(here))
    runner = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Counted)
    result = runner.run(tests)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    skipped = f", {len(result.skipped)} left out" if result.skipped else ""
    print(f"{result.passed} passed, {failed} failed{skipped}")
    # A run that found no tests shows nothing.
    return 0 if failed == 0 and result.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
