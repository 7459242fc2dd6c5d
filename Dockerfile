# The platform's image: one virtual environment, built from the lock with hashes, run by a user without rights.

FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/recovery
WORKDIR /src
# Dependencies first: they change less often than the code, and Docker keeps this layer.
COPY requirements.lock ./
RUN /opt/recovery/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE celeryconfig.py beat_schedule.py ./
COPY recovery recovery
COPY strategies strategies
COPY workers workers
RUN /opt/recovery/bin/pip install --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin recovery \
    && install --directory --owner recovery --mode 0700 /data
COPY --from=build /opt/recovery /opt/recovery
ENV PATH=/opt/recovery/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RECOVERY_CONFIG=/etc/recovery/recovery.toml \
    RECOVERY_DATA_DIR=/data
USER recovery
WORKDIR /data
VOLUME /data
# Alone, a container runs the whole platform with its embedded parts; docker-compose.yml gives every part its own.
CMD ["recovery", "up"]
