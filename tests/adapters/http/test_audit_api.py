"""Proofs over HTTP: verified here with nothing but hashes."""

import hashlib
from uuid import uuid4

import pytest

from clinical.audit.proof import is_consistent, is_included
from clinical.audit.tree import TreeHead
from tests.adapters.http.conftest import Stage

pytestmark = pytest.mark.integration


def test_every_entry_of_a_review_is_proven_under_the_head(stage: Stage) -> None:
    stage.sign_in()
    reviews = [stage.add_patient(f"p{i}") for i in range(3)]
    stage.sequence_audit()
    head = stage.get("/v1/audit/head").json()
    assert head["size"] > 6
    for entry in stage.get(f"/v1/reviews/{reviews[1]}/history").json()["entries"]:
        proof = stage.get(f"/v1/audit/entries/{entry['entry_id']}/proof").json()
        assert proof["head"] == head
        leaf = hashlib.sha256(b"\x00" + proof["canonical_entry"].encode()).digest()
        assert leaf.hex() == proof["leaf"]
        path = [bytes.fromhex(sibling) for sibling in proof["path"]]
        tree_head = TreeHead(head["size"], bytes.fromhex(head["root"]))
        assert is_included(leaf, proof["index"], path, tree_head)
        assert not is_included(leaf, proof["index"] + 1, path, tree_head)


def test_the_log_of_before_is_proven_to_begin_the_log_of_now(stage: Stage) -> None:
    stage.sign_in()
    stage.add_patient("p1")
    stage.sequence_audit()
    before = stage.get("/v1/audit/head").json()
    stage.add_patient("p2")
    stage.sequence_audit()
    now = stage.get("/v1/audit/head").json()
    assert now["size"] > before["size"]
    query = f"old={before['size']}&size={now['size']}"
    path = [bytes.fromhex(each) for each in stage.get(f"/v1/ledger/growth?{query}").json()["path"]]
    old, new = (TreeHead(head["size"], bytes.fromhex(head["root"])) for head in (before, now))
    assert is_consistent(old, new, path)
    assert not is_consistent(TreeHead(old.size, new.root), new, path)
    assert stage.get(f"/v1/ledger/growth?old=0&size={now['size'] + 1}").status_code == 404
    assert stage.get("/v1/ledger/growth?old=-1&size=1").status_code == 422


def test_an_entry_without_a_leaf_is_asked_for_again_later(stage: Stage) -> None:
    stage.sign_in()
    review_id = stage.add_patient("p1")
    (entry, *_) = stage.get(f"/v1/reviews/{review_id}/history").json()["entries"]
    early = stage.get(f"/v1/audit/entries/{entry['entry_id']}/proof")
    assert (early.status_code, early.headers["retry-after"]) == (503, "1")
    stage.sequence_audit()
    assert stage.get(f"/v1/audit/entries/{entry['entry_id']}/proof").status_code == 200


def test_an_unknown_entry_is_not_found(stage: Stage) -> None:
    stage.sign_in()
    stage.sequence_audit()
    assert stage.get(f"/v1/audit/entries/{uuid4()}/proof").status_code == 404
