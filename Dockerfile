# One image, three roles: a sweep (the default), the dashboard, an MLflow server.
#   docker run --gpus all -v "$PWD:/data" sft-select run sweep.yaml
#   docker run -v "$PWD:/data" --network host sft-select dashboard
#   docker run -v "$PWD:/data" --network host --entrypoint mlflow sft-select server \
#     --backend-store-uri sqlite:////data/runs/mlflow.db --artifacts-destination /data/runs/artifacts
FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE sft_select.py ./
COPY tracker tracker
COPY sweeps sweeps
COPY dashboards dashboards
RUN python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --no-cache-dir -c constraints.txt '.[gpu,postgres]'

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 1000 sft
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HF_HUB_OFFLINE=1 \
    MLFLOW_DISABLE_TELEMETRY=true
USER 1000
WORKDIR /data
ENTRYPOINT ["sft-select"]
CMD ["--help"]
