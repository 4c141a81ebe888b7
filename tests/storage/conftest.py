"""So that a failing assertion in the suite of every store shows the values that it compared."""

import pytest

pytest.register_assert_rewrite("storage.suite")
