"""The advice on how to install glioserve works from a checkout as from a package index."""

from __future__ import annotations

from glioserve_contract.install import REINSTALL, install_advice


def test_an_extra_is_named_for_a_checkout_and_for_an_index() -> None:
    assert install_advice("serve") == (
        "pip install '.[serve]' in a checkout of glioserve, "
        "or pip install 'glioserve[serve]' where a package index has it"
    )
    assert "'.[evaluate,export]'" in install_advice("evaluate", "export")


def test_the_package_alone_needs_no_quotes() -> None:
    assert install_advice(options=REINSTALL) == (
        "pip install --force-reinstall --no-deps . in a checkout of glioserve, "
        "or pip install --force-reinstall --no-deps glioserve where a package index has it"
    )
