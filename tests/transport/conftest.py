"""So that a failing assertion in the suite of every transport shows the values that it compared."""

import pytest

pytest.register_assert_rewrite("transport.suite")
