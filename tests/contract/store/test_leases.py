"""Claims on services: one holder at a time, and a fence that only rises."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from recovery.errors import LeaseLost
from recovery.models import Lease
from recovery.ports import Store
from tests.rows import at


def test_a_free_service_is_claimed_with_fence_one(store: Store) -> None:
    lease = store.acquire_lease("shop", "r-1", "worker-1", at(0), at(10))

    assert lease == Lease("shop", "r-1", "worker-1", 1, at(10))
    assert store.lease_of("shop") == lease


def test_a_live_claim_keeps_everybody_out_even_its_own_holder(store: Store) -> None:
    store.acquire_lease("shop", "r-1", "worker-1", at(0), at(10))

    assert store.acquire_lease("shop", "r-1", "worker-2", at(9.999999), at(20)) is None
    assert store.acquire_lease("shop", "r-1", "worker-1", at(5), at(20)) is None
    assert store.acquire_lease("cart", "r-2", "worker-2", at(5), at(20)) is not None


def test_an_expired_claim_is_taken_over_with_a_higher_fence(store: Store) -> None:
    first = store.acquire_lease("shop", "r-1", "worker-1", at(0), at(10))

    second = store.acquire_lease("shop", "r-2", "worker-2", at(10), at(20))

    assert first is not None
    assert second == Lease("shop", "r-2", "worker-2", 2, at(20))
    assert not store.holds(first)
    assert store.holds(second)


def test_an_expired_claim_that_nobody_took_is_still_held_and_can_be_renewed(store: Store) -> None:
    lease = store.acquire_lease("shop", "r-1", "worker-1", at(0), at(10))
    assert lease is not None

    assert store.holds(lease)
    assert store.renew_lease(lease, at(30)) == replace(lease, until=at(30))
    assert store.acquire_lease("shop", "r-1", "worker-2", at(20), at(40)) is None


def test_the_fence_rises_across_releases(store: Store) -> None:
    fences = []
    for turn in range(3):
        lease = store.acquire_lease("shop", "r-1", f"worker-{turn}", at(turn), at(turn + 10))
        assert lease is not None
        fences.append(lease.fence)
        store.release_lease(lease)

    assert fences == [1, 2, 3]


def test_a_released_claim_is_held_by_nobody(store: Store) -> None:
    lease = store.acquire_lease("shop", "r-1", "worker-1", at(0), at(10))
    assert lease is not None

    store.release_lease(lease)
    store.release_lease(lease)

    assert store.lease_of("shop") is None
    assert not store.holds(lease)
    with pytest.raises(LeaseLost):
        store.renew_lease(lease, at(20))


def test_a_stale_holder_can_neither_renew_nor_release(store: Store) -> None:
    stale = store.acquire_lease("shop", "r-1", "worker-1", at(0), at(10))
    current = store.acquire_lease("shop", "r-1", "worker-2", at(11), at(20))
    assert stale is not None

    with pytest.raises(LeaseLost, match="'shop' with fence 1"):
        store.renew_lease(stale, at(99))
    store.release_lease(stale)

    assert store.lease_of("shop") == current


def test_a_made_up_fence_holds_nothing(store: Store) -> None:
    lease = store.acquire_lease("shop", "r-1", "worker-1", at(0), at(10))
    assert lease is not None

    assert not store.holds(replace(lease, fence=2))
    assert not store.holds(replace(lease, service="cart"))
    with pytest.raises(LeaseLost):
        store.renew_lease(replace(lease, fence=2), at(20))


def test_nobody_ever_claimed_an_unknown_service(store: Store) -> None:
    assert store.lease_of("nobody") is None


def test_hammering_threads_get_strictly_rising_unique_fences(store: Store) -> None:
    def claim(worker: int) -> list[int]:
        fences = []
        for turn in range(25):
            lease = store.acquire_lease("shop", "r-1", f"{worker}-{turn}", at(0), at(10))
            if lease is not None:
                fences.append(lease.fence)
                store.release_lease(lease)
        return fences

    with ThreadPoolExecutor(8) as pool:
        per_worker = list(pool.map(claim, range(8)))

    every = [fence for fences in per_worker for fence in fences]
    assert all(fences == sorted(fences) for fences in per_worker)
    assert sorted(every) == list(range(1, len(every) + 1))


def test_of_many_threads_exactly_one_takes_over_an_expired_claim(store: Store) -> None:
    store.acquire_lease("shop", "r-1", "lost", at(0), at(10))

    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lambda worker: store.acquire_lease("shop", "r-1", f"w-{worker}", at(11), at(21)), range(8)))

    assert [lease.fence for lease in leases if lease] == [2]
