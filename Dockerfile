# The service as an image: docker build -t paybell .
FROM python:3.13-slim AS build
RUN python -m venv /opt/paybell
WORKDIR /build
# What is locked changes seldom, so it is a layer of its own.
COPY requirements.lock ./
RUN /opt/paybell/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY client client
COPY src src
# What only builds and installs stays behind.
RUN /opt/paybell/bin/pip install --no-cache-dir --no-deps --no-build-isolation ./client . \
    && /opt/paybell/bin/pip uninstall --yes --quiet hatchling editables pathspec pluggy trove-classifiers pip

FROM python:3.13-slim
# By name too: the embedded PostgreSQL of `demo` asks who it is.
RUN useradd --uid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin paybell
COPY --from=build /opt/paybell /opt/paybell
# Nothing has to be writable but /tmp (--read-only --tmpfs /tmp): databases and secrets are given.
ENV PATH=/opt/paybell/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PAYBELL_HOME=/tmp/paybell \
    PAYBELL_HOST=0.0.0.0 \
    PAYBELL_LOG_FORMAT=json
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# Alive, not ready: a database that is away is no reason to start everything anew.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('PAYBELL_PORT', '8000') + '/healthz', timeout=2)"]
ENTRYPOINT ["paybell"]
CMD ["serve"]
