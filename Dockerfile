# The image of the harness itself, for docker-compose.yml. It drives an engine through its socket and holds no torch.
# EXTRAS: optional dependencies, such as "ray s3" for a machine of a cluster.
ARG BASE=python:3.11-slim
FROM ${BASE}
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
# foolbox, of which only the photographs are used, imports GitPython, which wants to be told that there is no git.
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore \
    GIT_PYTHON_REFRESH=quiet PYTHONUNBUFFERED=1
WORKDIR /src
COPY pyproject.toml constraints.txt ./
RUN python3 -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; [open(name, 'w').write('\n'.join(lines)) for name, lines in {'deps': p['dependencies'], **p['optional-dependencies']}.items()]" \
 && pip install --constraint constraints.txt setuptools -r deps -r datasets
ARG EXTRAS=""
RUN for extra in ${EXTRAS}; do set -- "$@" -r "$extra"; done; [ $# = 0 ] || pip install --constraint constraints.txt "$@"
COPY README.md LICENSE ./
COPY harness harness
RUN pip install --no-deps --no-build-isolation . && rm -rf build ./*.egg-info
ENTRYPOINT ["harness"]
