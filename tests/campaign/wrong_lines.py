"""Lines that a user could type and that are wrong, over all commands: what each says, and that it leaves nothing."""

import functools
import logging
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from io import StringIO
from pathlib import Path

import numpy as np
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from flowers_tl.data.synthetic import Species, draw_flower
from tests.campaign import Try
from tests.campaign.commands import NOT_TAKEN, TINY, run, scratch

PROMISE = "A wrong command line ends in one sentence with key and remedy, before anything is written"

# A line, and words that its sentence holds. RUN is a finished run's folder and HEADS one of many heads; PHOTOS holds class
# folders of images, FLAT images alone; IMAGE, TEXT and EMPTY are a file of each kind and an empty folder. Behind the words of
# train and search stand those of a tiny run that the line does not name: one that is taken by mistake ends in seconds.
LINES = """
train strategy fine_tuning -> 'strategy'
train strategy =fine_tuning -> 'strategy'
train =3 -> '=3'
train seed =3 -> 'seed'
train seed: 3 -> 'seed:'
train seed==3 -> seed
train fine_tuning -> 'fine_tuning'
train --strategy fine_tuning -> strategy=fine_tuning
train --strategy=fine_tuning -> strategy=fine_tuning
train --epochs 3 -> --epochs
train -e 3 -> -e
train --resume -> --resume
train --seed 3 -> seed=3
train strategy=fine-tuning -> 'fine_tuning'
train strategy=finetuning -> 'fine_tuning'
train strategy=FineTuning -> FineTuning
train strategy= -> strategy
train strategy=null -> choice
train backbone=resnet-18 -> 'resnet18'
train backbone=ResNet18 -> 'resnet18'
train backbone=resnet101 -> resnet101
train backbone=vit -> 'vit'
train data=flower -> 'flowers'
train data=imagenet -> imagenet
train data=PHOTOS -> data
train optimizer=AdamW -> 'adamw'
train optimizer=rmsprop -> rmsprop
train scheduler=cosin -> 'cosine'
train scheduler=none -> scheduler
train regularisation=dropout -> dropout
train regularization=mixup -> 'regularisation'
train experiment=artcle -> 'article'
train sweep=strategy -> 'strategies'
train lr=1e-3 -> strategy.table.0.lr
train learning_rate=0.001 -> 'learning_rate'
train epochs=10 -> trainer.max_epochs
train max_epochs=10 -> trainer.max_epochs
train batch_size=16 -> data.batch_size
train trainer.epochs=3 -> trainer.max_epochs
train trainer.max_epoch=3 -> 'trainer.max_epochs'
train trainer.gpus=1 -> 'trainer.gpus'
train data.batchsize=16 -> 'data.batch_size'
train data.path=x -> 'data.path'
train data.roots=x -> 'data.root'
train optimizer.lr=1e-3 -> strategy.table.0.lr
train strategy.lr=1e-3 -> 'strategy.lr'
train strategy.table.0.rate=1e-3 -> 'strategy.table.0.rate'
train strategy.table.5.lr=1e-3 -> strategy.table
train strategy.table.lr=1e-3 -> strategy.table.0.lr
train strategy.table.head.lr=1e-3 -> rows are counted from 0
train data.exclude=/dev/zero -> data.exclude=/dev/zero
train model=resnet18 -> 'model'
train seeds=3 -> heads.seeds
train output=there -> 'output'
train +seeed=1 -> 'seed'
train ++trainer.foo=1 -> trainer.foo
train seed=abc -> seed
train seed=1.5 -> seed
train seed=null -> seed
train seed=-1 -> seed=-1
train seed=0,1 -> -m
train seed=[0,1] -> seed
train trainer.max_epochs=ten -> trainer.max_epochs
train trainer.max_epochs=0 -> trainer.max_epochs=0
train trainer.max_epochs=-1 -> trainer.max_epochs=-1
train trainer.max_epochs=1.5 -> trainer.max_epochs
train trainer.max_epochs=null -> trainer.max_epochs
train data.batch_size=0 -> data.batch_size=0
train data.batch_size=-4 -> data.batch_size=-4
train data.batch_size=auto -> data.batch_size
train data.batch_size=16.5 -> data.batch_size
train data.batch_size=null -> data.batch_size
train data.image_size=0 -> data.image_size=0
train data.image_size=8 -> data.image_size=8
train data.image_size=1000000 -> data.image_size=1000000
train data.image_size=224x224 -> data.image_size
train data.image_size=[224,224] -> data.image_size
train backbone=vit_b_16 data.image_size=72 -> data.image_size
train data.num_workers=-1 -> data.num_workers=-1
train data.num_workers=all -> data.num_workers
train data.limit=0 -> data.limit=0
train data.limit=-5 -> data.limit=-5
train data.limit=0.5 -> data.limit
train data.per_class=0 -> data.per_class=0
train data.augmentation=off -> data.augmentation=off
train data.augmentation=trivialaugment -> 'trivial_augment'
train data.balance=weight -> 'weights'
train data.protocol=train -> 'trainval'
train data.num_classes=1 -> data.num_classes=1
train data.num_classes=many -> data.num_classes
train data.train_per_class=0 -> data.train_per_class=0
train data.val_fraction=0.2 -> 'data.val_fraction'
train data.partition=3 -> 'data.partition'
train data.name=foo -> 'foo'
train data.value_range=[1] -> data.value_range
train data.value_range=[5,1] -> data.value_range
train data.value_range=255 -> data.value_range
train data=dtd data.partition=11 -> data.partition=11
train proof=maybe -> proof
train force=2 -> force
train test_best=3 -> test_best=3
train test_best=best -> test_best
train print_strategy=ja -> print_strategy
train runs=TEXT -> text.txt
train cache.enabled=maybe -> cache.enabled
train cache.max_gb=0 -> cache.max_gb=0
train cache.max_gb=-1 -> cache.max_gb=-1
train cache.max_gb=20GB -> cache.max_gb
train cache.views=0 -> cache.views=0
train cache.precision=fp16 -> cache.precision=fp16
train cache.dir=TEXT -> cache.dir
train cache=false -> cache
train compute.compile=maybe -> compute.compile
train optimizer.weight_decay=-0.1 -> optimizer.weight_decay=-0.1
train optimizer.weight_decay=nan -> optimizer.weight_decay=nan
train optimizer.weight_decay=1e-4x -> optimizer.weight_decay
train optimizer.betas=[0.9] -> optimizer.betas=[0.9]
train optimizer.betas=0.9 -> optimizer.betas
train optimizer.betas=[0.9,1.0] -> optimizer.betas.1=1.0
train optimizer.betas=[0.9,0.99,0.999] -> optimizer.betas
train optimizer.betas=[] -> optimizer.betas
train optimizer.momentum=0.9 -> optimizer.momentum=0.9
train optimizer.momentum=7 -> optimizer.momentum=7
train optimizer=sgd optimizer.momentum=7 -> optimizer.momentum=7
train optimizer=sgd optimizer.momentum=-1 -> optimizer.momentum=-1
train optimizer=sgd optimizer.betas=[0.9,0.99] -> optimizer.betas
train optimizer=sgd optimizer.momentum=0 optimizer.nesterov=true -> optimizer.nesterov
train optimizer.nesterov=true -> optimizer.nesterov
train optimizer.name=adm -> 'adam'
train scheduler.warmup_epochs=3 -> scheduler.warmup_epochs=3
train scheduler=cosine scheduler.warmup_epochs=100 -> scheduler.warmup_epochs=100
train scheduler=cosine scheduler.warmup_epochs=-1 -> scheduler.warmup_epochs=-1
train scheduler=cosine scheduler.final=2 -> scheduler.final=2
train scheduler=cosine scheduler.pct_start=0.3 -> scheduler.pct_start=0.3
train scheduler=onecycle scheduler.pct_start=0 -> scheduler.pct_start=0
train scheduler=onecycle scheduler.pct_start=30 -> scheduler.pct_start=30
train scheduler=onecycle scheduler.final=0.1 -> scheduler.final=0.1
train scheduler.name=linear -> scheduler.name=linear
train regularisation.mixup=0 -> regularisation.mixup=0
train regularisation.mixup=-1 -> regularisation.mixup=-1
train regularisation.mixup=1e-320 -> regularisation.mixup
train regularisation.label_smoothing=1 -> regularisation.label_smoothing=1
train regularisation.label_smoothing=10 -> regularisation.label_smoothing=10
train regularisation.ema=1 -> regularisation.ema=1
train regularisation.ema=98 -> regularisation.ema=98
train regularisation.early_stopping=0 -> regularisation.early_stopping=0
train regularisation.early_stopping=true -> regularisation.early_stopping
train regularisation.dropout=0.5 -> 'regularisation.dropout'
train strategy=linear_probe regularisation=mixup -> regularisation.mixup
train strategy=linear_probe data.balance=sampler -> data.balance=sampler
train strategy.table.0.lr=0 -> learning rate 0
train strategy.table.0.lr=-1e-3 -> learning rate -0.001
train strategy.table.0.lr=nan -> learning rate nan
train strategy.table.0.lr=fast -> fast
train strategy.table.0.lr=x0.5 -> x0.5
train strategy.table.0.lr=1e-3x -> 1e-3x
train strategy.table.0.lr=null -> learning rate
train strategy.table.0.lr=[1e-3] -> learning rate
train strategy.table.0.stage=layer9 -> 'layer9'
train strategy.table.0.stage=7 -> '7'
train strategy.table.0.stage=null -> stage
train strategy.table.0.stage=Head -> 'head'
train strategy.table=[] -> strategy.table
train strategy.table=none -> strategy.table
train strategy.table.0.from_epoch=99 -> from_epoch
train strategy.table.0.from_epoch=-1 -> from_epoch=-1
train strategy.table.0.every=0 -> every=0
train strategy.table.0.only=[norms] -> 'norm'
train strategy.table.0.only=norm -> only
train strategy.table.0.weight_decay=-1 -> weight_decay=-1
train strategy.weights=imagenet -> strategy.weights=imagenet
train strategy.head=solve -> 'solved'
train strategy.frozen_batchnorm=on -> strategy.frozen_batchnorm
train strategy.name=a/b -> strategy.name
train strategy=gradual_unfreezing trainer.max_epochs=3 -> trainer.max_epochs
train strategy=norm_tuning backbone=squeezenet1_1 -> norm_tuning
train backbone.weights=missing.pth -> missing.pth
train backbone.weights=IMAGENET1K_V9 -> IMAGENET1K_V9
train backbone.weights=TEXT -> text.txt
train backbone.weights=EMPTY -> backbone.weights
train backbone.weights=RUN -> backbone.weights
train backbone=mobilenet_v2 backbone.weights=RUN/checkpoints/last.ckpt -> mobilenet_v2
train backbone.pretrained=true -> 'backbone.pretrained'
train data=folder data.root=null -> data.root
train data=folder data.root=missing -> data.root=missing
train data=folder data.root=TEXT -> data.root
train data=folder data.root=EMPTY -> empty
train data=folder data.root=FLAT -> rose
train data=folder data.root=PHOTOS data.val_fraction=0 -> data.val_fraction=0
train data=folder data.root=PHOTOS data.val_fraction=1.5 -> data.val_fraction=1.5
train data=folder data.root=PHOTOS data.test_fraction=-0.1 -> data.test_fraction=-0.1
train data=folder data.root=PHOTOS data.test_fraction=0.9 -> data.test_fraction=0.9
train data=folder data.root=PHOTOS data.split_seed=-1 -> data.split_seed=-1
train data=folder data.root=PHOTOS data.strict=2 -> data.strict
train data=folder data.root=PHOTOS data.num_classes=2 -> data.num_classes=2
train data=folder data.root=PHOTOS data.train_per_class=3 -> 'data.train_per_class'
train trainer.accelerator=cuda -> trainer.accelerator=cuda
train trainer.accelerator=gpu -> trainer.accelerator=gpu
train trainer.accelerator=foo -> trainer.accelerator=foo
train trainer.accelerator=cpu:0 -> trainer.accelerator
train trainer.devices=0 -> trainer.devices=0
train trainer.devices=-2 -> trainer.devices=-2
train trainer.devices=two -> trainer.devices=two
train trainer.devices=1.5 -> trainer.devices
train trainer.num_nodes=0 -> trainer.num_nodes=0
train trainer.strategy=foo -> trainer.strategy
train trainer.precision=8 -> trainer.precision=8
train trainer.precision=half -> trainer.precision=half
train trainer.precision=bf16-true -> trainer.precision=bf16-true
train trainer.deterministic=maybe -> trainer.deterministic=maybe
train trainer.fast_dev_run=-1 -> trainer.fast_dev_run=-1
train trainer.min_epochs=-1 -> trainer.min_epochs=-1
train trainer.max_steps=-2 -> trainer.max_steps=-2
train trainer.max_steps=all -> trainer.max_steps
train trainer.max_time=1h -> trainer.max_time=1h
train trainer.max_time=tomorrow -> trainer.max_time=tomorrow
train trainer.limit_train_batches=-1 -> trainer.limit_train_batches=-1
train trainer.limit_train_batches=2.5 -> trainer.limit_train_batches=2.5
train trainer.limit_train_batches=some -> trainer.limit_train_batches=some
train trainer.limit_val_batches=-0.5 -> trainer.limit_val_batches=-0.5
train trainer.limit_test_batches=1.5 -> trainer.limit_test_batches=1.5
train trainer.overfit_batches=-1 -> trainer.overfit_batches=-1
train trainer.overfit_batches=1.5 -> trainer.overfit_batches=1.5
train trainer.val_check_interval=0 -> trainer.val_check_interval=0
train trainer.val_check_interval=-1 -> trainer.val_check_interval=-1
train trainer.val_check_interval=2.5 -> trainer.val_check_interval=2.5
train trainer.check_val_every_n_epoch=0 -> trainer.check_val_every_n_epoch=0
train trainer.check_val_every_n_epoch=-1 -> trainer.check_val_every_n_epoch=-1
train trainer.num_sanity_val_steps=-2 -> trainer.num_sanity_val_steps=-2
train trainer.log_every_n_steps=-1 -> trainer.log_every_n_steps=-1
train trainer.accumulate_grad_batches=0 -> trainer.accumulate_grad_batches=0
train trainer.accumulate_grad_batches=-1 -> trainer.accumulate_grad_batches=-1
train trainer.accumulate_grad_batches=1.5 -> trainer.accumulate_grad_batches
train trainer.gradient_clip_val=-1 -> trainer.gradient_clip_val=-1
train trainer.gradient_clip_val=nan -> trainer.gradient_clip_val=nan
train trainer.gradient_clip_val=true -> trainer.gradient_clip_val
train trainer.gradient_clip_val=1 trainer.gradient_clip_algorithm=norms -> trainer.gradient_clip_algorithm=norms
train trainer.profiler=fast -> trainer.profiler=fast
train trainer.plugins=foo -> trainer.plugins=foo
train trainer.logger=wandb -> 'trainer.logger'
train heads.lr=[] -> heads.lr=[]
train heads.lr=[0] -> heads.lr.0=0
train heads.lr=[1e-3,1e-3] -> heads.lr
train heads.lr=0.1 -> heads.lr
train heads.lr=[fast] -> heads.lr
train heads.seeds=0 -> heads.seeds=0
train heads.weight_decay=[-1] -> heads.weight_decay.0=-1
train strategy=fine_tuning heads.lr=[1e-3,1e-2] -> fine_tuning
train heads.lr=[1e-3,1e-2] trainer.accumulate_grad_batches=2 -> trainer.accumulate_grad_batches=2
train heads.lr=[1e-3,1e-2] cache.enabled=false -> cache.enabled
train heads.lr=[1e-3,1e-2] cache.views=null -> cache.views
train heads.lr=[1e-3,1e-2] ckpt_path=last -> ckpt_path
train heads.lr=[1e-3,1e-2] test_best=true -> test_best
train heads.lr=[1e-3,1e-2] regularisation=ema -> regularisation.ema
train strategy=linear_probe heads.lr=[0.1,0.01] -> heads.lr
train heads.seeds=2 -> heads.seeds
train ckpt_path=last -> ckpt_path=last
train ckpt_path=best -> ckpt_path=best
train ckpt_path=true -> ckpt_path
train ckpt_path=missing.ckpt -> ckpt_path=missing.ckpt
train ckpt_path=TEXT -> text.txt
train ckpt_path=RUN -> ckpt_path=
train ckpt_path=RUN/checkpoints/last.ckpt -> trainer.max_epochs
train ckpt_path=RUN/checkpoints/last.ckpt seed=5 -> seed
train ckpt_path=RUN/checkpoints/last.ckpt trainer.max_epochs=1 -> trainer.max_epochs
train ckpt_path=RUN/checkpoints/last.ckpt backbone=mobilenet_v2 -> backbone
train hydra.run.dir=RUN ckpt_path=last strategy=feature_extraction -> strategy
train hydra.run.dir=RUN strategy=full_fine_tuning -> hydra.run.dir
train hydra.run.dir=RUN force=true strategy=fine_tuning -> hydra.run.dir
train hydra.run.dir=TEXT -> text.txt
train hydra.run.dir=TEXT/run -> text.txt
train hydra.rundir=x -> hydra.rundir
train hydra.run.folder=x -> hydra.run.folder
train resume=true -> 'resume'
train data.protocol=trainval test_best=true -> test_best=true
train data.protocol=trainval regularisation=early_stopping -> regularisation.early_stopping
train data.protocol=trainval strategy=linear_probe -> strategy.head=solved
train --config-dir missing -> missing
train --config-name foo -> foo
train --cfg foo -> --cfg
train seed='a b' -> seed
train runs=a=b -> quotes
train strategy.name=a,b -> -m
train -m seed=0,-1 -> seed=-1
train -m strategy=fine_tuning,fin_tuning -> 'fine_tuning'
train -m optimizer.weight_decay=0,-1 -> optimizer.weight_decay=-1
train -m data.image_size=32,8 -> data.image_size=8
train -m trainer.max_epochs=1,0 -> trainer.max_epochs=0
train -m seed=range(3,1) -> range
train -m seed=interval(0,1) -> search
train -m strategy.table.0.lr=1e-3,0 -> learning rate 0
train -m strategy.table.0.stage=head,layer9 -> 'layer9'
train -m seed=0,1 sed=3 -> 'seed'
train -m seed=0,1 data=folder data.root=null -> data.root
train -m seed=0,1 data=folder data.root=missing -> data.root=missing
train -m seed=0,1 backbone.weights=missing.pth -> missing.pth
train -m backbone.weights=null,missing.pth -> missing.pth
train -m strategy=gradual_unfreezing,fine_tuning trainer.max_epochs=3 -> trainer.max_epochs
train -m backbone=squeezenet1_1 strategy=norm_tuning,fine_tuning -> norm_tuning
train -m trainer.accelerator=cpu,gpu -> trainer.accelerator=gpu
train -m optimizer=adam,adamw optimizer.momentum=0.9 -> optimizer.momentum=0.9
train -m optimizer.betas=[0.9],[0.8] -> optimizer.betas
train -m trainer.gradient_clip_val=0.5,-1 -> trainer.gradient_clip_val=-1
train -m heads.seeds=1,0 -> heads.seeds=0
train -m seed=0,1 hydra.sweep.dir=TEXT -> text.txt
train -m seed=0,1 hydra/launcher=joblb -> hydra/launcher
train -m seed=0,1 hydra/launcher=parallel hydra.launcher.n_jobs=-1 -> hydra.launcher.n_jobs
train -m seed=0,1 hydra/launcher=parallel hydra.launcher.n_jobs=two -> n_jobs
train -m seed=0,1 hydra/launcher=parallel hydra.launcher.jobs=2 -> hydra.launcher.jobs
train -m seed=0,1 hydra/launcher=parallel optimizer.momentum=0.9 -> optimizer.momentum=0.9
train -m seed=0,1 hydra/sweeper=optuna -> optuna
train sweep=data_size data=folder data.root=missing -> data.root=missing
train sweep=strategies trainer.max_epochs=3 -> trainer.max_epochs
train print_strategy=true strategy.table.0.stage=layer9 -> 'layer9'
train print_strategy=true strategy=gradual_unfreezing trainer.max_epochs=3 -> trainer.max_epochs
train print_strategy=true data=folder data.root=missing -> data.root=missing
train print_strategy=true optimizer.momentum=0.9 -> optimizer.momentum=0.9
train print_strategy=true strategy.table.0.lr=fast -> fast
train print_strategy=true trainer.devices=0 -> trainer.devices=0
train print_strategy=true test_best=3 -> test_best
search seed=0 -> search
search -> nothing to search
search seed=0,1 trials=0 -> trials
search seed=0,1 trials=-1 -> trials
search seed=0,1 trials=ten -> trials=ten
search seed=0,1 trials= -> trials
search seed=0,1 --trials 5 -> trials=5
search seed=0,1 trails=5 -> 'trials'
search seed=0,1 search_seed=-1 -> search_seed
search seed=0,1 confirm_seeds=-1 -> confirm_seeds
search seed=0,1 pruning=maybe -> pruning=maybe
search seed=0,1 folder=TEXT -> text.txt
search seed=0,1 folder=RUN -> folder
search seed=0,1 config_dir=missing -> config_dir
search seed=0,1 config_dir=TEXT -> config_dir
search strategy.table.0.lr=interval(1e-2,1e-5) -> strategy.table.0.lr
search strategy.table.0.lr=tag(log,interval(0,1)) -> strategy.table.0.lr
search strategy.table.0.lr=tag(lin,interval(1e-5,1)) -> 'lin'
search strategy.table.0.lr=tag(log,1e-3,1e-2) -> strategy.table.0.lr
search strategy.table.0.lr=tag(log,interval(-1,1)) -> strategy.table.0.lr
search strategy.table.0.lr=interval(0,1) -> learning rate 0
search strategy.table.0.lr=log(1e-5,1e-2) -> strategy.table.0.lr
search strategy.table.0.lr=interval(1e-5,1e-2 -> strategy.table.0.lr
search strategy.table.0.lr=[1e-3,1e-2] -> nothing to search
search seed=range(0) -> seed
search sed=0,1 -> 'seed'
search strategy=fine_tuning,fin -> 'fin'
search optimizer.weight_decay=0,-1 -> optimizer.weight_decay=-1
search optimizer.momentum=0.5,0.9 -> optimizer.momentum=0.5
search strategy.table.0.stage=head,layer9 -> 'layer9'
search seed=0,1 trainer.devices=2 -> trainer.devices
search seed=0,1 ckpt_path=last -> ckpt_path
search seed=0,1 test_best=true -> test_best
search seed=0,1 hydra.run.dir=x -> hydra.run.dir
search seed=0,1 hydra/launcher=parallel -> hydra/launcher
search seed=0,1 data.protocol=trainval -> data.protocol
search seed=0,1 heads.lr=[1e-3] -> heads
search seed=0,1 data=folder data.root=null -> data.root
search seed=0,1 data=folder data.root=missing -> data.root=missing
search seed=0,1 backbone.weights=missing.pth -> missing.pth
search seed=0,1 trainer.check_val_every_n_epoch=0 -> trainer.check_val_every_n_epoch=0
search -m seed=0,1 -> -m
compare -> FOLDER
compare missing -> missing
compare TEXT -> text.txt
compare EMPTY -> empty
compare PHOTOS -> photos
compare RUN missing -> missing
compare RUN RUN/config.yaml -> config.yaml
compare RUN out=TEXT -> text.txt
compare RUN report=TEXT -> text.txt
compare RUN out=TEXT/x -> text.txt
compare RUN report=TEXT/x -> text.txt
compare RUN allow_mixed=maybe -> allow_mixed=maybe
compare RUN outt=x -> 'out'
compare RUN --report x -> report=x
compare RUN report -> report
compare RUN out=a out=b -> out
compare folders=RUN -> 'folders'
compare runs=RUN -> 'runs'
evaluate -> ckpt
evaluate RUN -> ckpt
evaluate ckpt=missing -> ckpt=missing
evaluate ckpt=TEXT -> text.txt
evaluate ckpt=PHOTOS -> ckpt
evaluate ckpt=EMPTY -> ckpt
evaluate ckpt=RUN/config.yaml -> config.yaml
evaluate ckpt=HEADS -> ckpt
evaluate ckpt -> ckpt=PATH
evaluate --ckpt RUN -> ckpt=
evaluate checkpoint=RUN -> 'checkpoint'
evaluate ckpt=RUN ckpt=RUN -> ckpt
evaluate ckpt=RUN split=valid -> split=valid
evaluate ckpt=RUN split= -> split
evaluate ckpt=RUN calibrate=maybe -> calibrate=maybe
evaluate ckpt=RUN calibrate -> calibrate=
evaluate ckpt=RUN conformal=0 -> conformal=0
evaluate ckpt=RUN conformal=1 -> conformal=1
evaluate ckpt=RUN conformal=95 -> conformal=95
evaluate ckpt=RUN conformal=-0.1 -> conformal=-0.1
evaluate ckpt=RUN conformal=nan -> conformal=nan
evaluate ckpt=RUN conformal=abc -> conformal=abc
evaluate ckpt=RUN calibrate=true split=all -> split=
evaluate ckpt=RUN out=RUN -> out=
evaluate ckpt=RUN out=TEXT -> text.txt
evaluate ckpt=RUN out=TEXT/x -> text.txt
evaluate ckpt=RUN data=folder -> data.root
evaluate ckpt=RUN data=folder data.root=missing -> data.root=missing
evaluate ckpt=RUN data=flowres -> 'flowers'
evaluate ckpt=RUN data.limit=0 -> data.limit=0
evaluate ckpt=RUN data.limit=abc -> data.limit
evaluate ckpt=RUN data.image_size=64 -> data.image_size
evaluate ckpt=RUN data.batch_size=0 -> data.batch_size=0
evaluate ckpt=RUN data.batchsize=8 -> 'data.batch_size'
evaluate ckpt=RUN data.limit=1,2 -> data.limit
evaluate ckpt=RUN seed=3 -> 'seed'
evaluate ckpt=RUN trainer.accelerator=gpu -> 'trainer.accelerator'
evaluate ckpt=RUN cache.dir=TEXT -> cache.dir
evaluate ckpt=RUN cache.max_gb=0 -> cache.max_gb=0
evaluate -m ckpt=RUN -> -m
predict -> images
predict images=IMAGE -> ckpt
predict ckpt=RUN -> images
predict images=missing.jpg ckpt=RUN -> missing.jpg
predict images=IMAGE ckpt=RUN backbone=resnet18 -> ckpt
predict images=IMAGE ckpt=RUN top=0 -> top=0
predict images=IMAGE ckpt=RUN top=-1 -> top=-1
predict images=IMAGE ckpt=RUN top=five -> top=five
predict images=IMAGE ckpt=RUN batch_size=0 -> batch_size=0
predict images=IMAGE ckpt=RUN format=json -> format=json
predict images=IMAGE ckpt=RUN figure=out.jpg -> figure=out.jpg
predict images=IMAGE ckpt=RUN figure=missing/x.png -> figure=missing/x.png
predict images=IMAGE ckpt=RUN figure=IMAGE -> figure=
predict images=IMAGE ckpt=RUN figure=TEXT -> figure=
predict images=IMAGE ckpt=RUN explain=true -> figure
predict images=IMAGE ckpt=RUN device=gpu -> device=gpu
predict images=IMAGE ckpt=RUN device=cuda -> device=cuda
predict images=IMAGE ckpt=RUN device=tpu -> device=tpu
predict images=IMAGE ckpt=RUN device=cpu:5x -> device=cpu:5x
predict images=EMPTY ckpt=RUN -> empty
predict images='EMPTY/*.jpg' ckpt=RUN -> *.jpg
predict images=IMAGE ckpt=missing -> ckpt=missing
predict images=IMAGE ckpt=TEXT -> text.txt
predict images=IMAGE backbone=resnet19 -> 'resnet18'
predict images=IMAGE backbone=resnet18 backbone.weights=missing.pth -> missing.pth
predict images=IMAGE backbone=resnet18 backbone.weights=null -> backbone.weights=null
predict images=IMAGE backbone=resnet18 backbone.weights=RUN/checkpoints/last.ckpt -> backbone.weights
predict images=IMAGE ckpt=RUN backbone.weights=IMAGENET1K_V1 -> backbone.weights
predict IMAGE ckpt=RUN -> images
predict image=IMAGE ckpt=RUN -> 'images'
predict images=IMAGE ckpt=RUN topk=3 -> 'top'
predict images=IMAGE ckpt=RUN --top 3 -> top=3
predict images=IMAGE ckpt=RUN explain=yes -> explain=yes
explain images=IMAGE ckpt=RUN -> figure
explain images=IMAGE figure=h.png -> ckpt
explain images=IMAGE ckpt=RUN figure=h.gif -> figure=h.gif
explain images=IMAGE ckpt=RUN figure=h.png top=0 -> top=0
explain images=IMAGE ckpt=RUN figure=h.png top=11 -> top=11
explain images=IMAGE ckpt=RUN figure=h.png class=daffodil -> 'daffodil'
explain images=IMAGE ckpt=RUN figure=h.png stage=layer9 -> stage=layer9
explain images=IMAGE ckpt=RUN figure=h.png stage=head -> stage=head
explain images=IMAGE ckpt=RUN ckpt=RUN ckpt=RUN figure=h.png -> ckpt
explain images=IMAGE ckpt=missing figure=h.png -> ckpt=missing
explain images=missing.jpg ckpt=RUN figure=h.png -> missing.jpg
explain images=IMAGE ckpt=RUN figure=h.png device=gpu -> device=gpu
explain images=IMAGE ckpt=RUN figure=h.png classes=rose -> 'class'
explain images=IMAGE ckpt=RUN backbone=resnet18 figure=h.png -> ckpt
export ckpt=RUN -> out
export out=there -> ckpt
export ckpt=RUN out=RUN -> out=
export ckpt=RUN out=TEXT -> text.txt
export ckpt=RUN out=TEXT/x -> text.txt
export ckpt=RUN out=there formats=onxn -> 'onnx'
export ckpt=RUN out=there formats=onnx,safetensor -> 'safetensors'
export ckpt=RUN out=there formats=onnx, -> formats
export ckpt=RUN out=there formats= -> formats
export ckpt=RUN out=there formats='onnx, torch' -> formats
export ckpt=RUN out=there format=onnx -> 'formats'
export ckpt=RUN out=there images=missing.jpg -> missing.jpg
export ckpt=RUN out=there images=TEXT -> text.txt
export ckpt=missing out=there -> ckpt=missing
export ckpt=TEXT out=there -> text.txt
export RUN there -> ckpt
serve -> ckpt
serve ckpt=RUN port=0 -> port=0
serve ckpt=RUN port=99999 -> port=99999
serve ckpt=RUN port=abc -> port=abc
serve ckpt=RUN host=nosuch.invalid -> nosuch.invalid
serve ckpt=RUN host=http://127.0.0.1 -> host
serve ckpt=RUN max_mb=0 -> max_mb=0
serve ckpt=RUN explain=maybe -> explain=maybe
serve ckpt=RUN device=foo -> device=foo
serve ckpt=missing -> ckpt=missing
serve ckpt=RUN backbone=resnet18 -> ckpt
serve ckpt=RUN --port 80 -> port=80
serve backbone=resnet -> resnet50
cache clean -> clean
cache list clear -> list|clear
cache remove -> remove
cache clear dir=missing -> dir=missing
cache dir=TEXT -> text.txt
cache clear unused_days=-1 -> unused_days=-1
cache clear unused_days=nan -> unused_days=nan
cache clear unused_days=week -> unused_days=week
cache list unused=3 -> 'unused_days'
cache --clear -> clear
cache clear=true -> 'clear'
cache list unused_days=3 -> unused_days
benchmarks.benchmark repeats=0 -> repeats
benchmarks.benchmark sweep=1 -> sweep
benchmarks.benchmark strategies=lp_ft -> 'lp_ft'
benchmarks.benchmark folder=RUN -> folder
benchmarks.benchmark strategy=fine_tuning -> strategy=fine_tuning
benchmarks.benchmark data.limit=-1 -> data.limit=-1
benchmarks.article jobs=0 -> jobs
benchmarks.article seeds=a -> seeds
"""
# As a user types them, each in a process of its own.
COMMANDS = """
train optimizer.momentum=7 -> optimizer.momentum=7
train -m seed=0,-1 -> seed=-1
train trainer.accumulate_grad_batches=0 -> trainer.accumulate_grad_batches=0
train data=folder data.root=missing -> data.root=missing
train backbone.weights=missing.pth -> missing.pth
search seed=0,1 data=folder data.root=missing -> data.root=missing
evaluate ckpt=RUN out=TEXT/x -> text.txt
__main__ trian -> 'train'
__main__ --strategy -> --strategy
__main__ train strategy=fin_tuning -> 'fine_tuning'
__main__ evaluate ckpt=missing -> ckpt=missing
"""
# Of every how many lines the short form takes one, and `make test-fast`.
SHORT, FAST = 3, 15
# Words of libraries, which tell a user nothing.
NOT_OURS = re.compile(
    r"Traceback|HYDRA_FULL_ERROR|\b\w+Error:|OmegaConf|ListConfig|NoneType|<class|Trainer\.|could not be conv"
)


def tries(long: bool) -> Iterator[Try]:
    """Each line in this process, and some as commands."""
    for table, call, kind in ((LINES, call_in_process, ""), (COMMANDS, call_command, "command: ")):
        for number, line in enumerate(table.strip().splitlines()):
            text, names = line.split(" -> ")
            if long or number % SHORT == 0:
                yield Try(kind + text, partial(refuse, text, names, call), slow=number % FAST > 0)


def refuse(line: str, names: str, call: Callable, folder: Path) -> None:
    """Type a line in an empty folder; it must be refused in one sentence with these words, and leave nothing."""
    places = world()
    name, *words = shlex.split(re.sub(rf"\b({'|'.join(places)})\b", lambda place: places[place[0]], line))
    if {"train", "search"} & {name, *words[:1]}:
        words += rest_of_tiny_run(words)
    before = snapshot()
    code, out, err = call(name, words, folder)
    assert code == 1, f"exit code {code}: {out}{err}"
    assert re.fullmatch(r"Error: [^\n]*\.\n", err), f"not one sentence: {err}"
    assert names in err, f"'{names}' is not named: {err}"
    assert not NOT_OURS.search(err), f"a library's words: {err}"
    assert not out, f"more is said: {out}"
    assert not list(folder.iterdir()), f"{[str(path) for path in folder.rglob('*')]} are left: {err}"
    assert snapshot() == before, f"something is written beside what was there: {err}"


def rest_of_tiny_run(words: list[str]) -> list[str]:
    """The overrides of a tiny run whose keys the words do not name."""
    keys = {word.partition("=")[0].lstrip("+") for word in words}
    others = TINY | {"data.root": world()["WORLD"] + "/drawn"}
    if "data=folder" in words or "data=dtd" in words:
        others = {key: value for key, value in others.items() if not re.match(r"data\.(num_classes|.*per_class)", key)}
    return [f"{key}={value}" for key, value in others.items() if key not in keys]


def call_in_process(name: str, words: list[str], folder: Path) -> tuple[int, str, str]:
    """Run a command's main here; return exit code, stdout and stderr."""
    module = import_module(name if name.startswith("benchmarks.") else f"flowers_tl.{name}")
    environment, arguments, handlers = dict(os.environ), sys.argv, logging.getLogger().handlers[:]
    code, out, err = 0, StringIO(), StringIO()
    os.environ["XDG_CACHE_HOME"] = world()["WORLD"] + "/cache"
    for key in NOT_TAKEN:
        os.environ.pop(key, None)
    sys.argv = [name, *words]
    try:
        with chdir(folder), redirect_stdout(out), redirect_stderr(err):
            module.main()
    except SystemExit as end:
        code = end.code
    finally:
        os.environ.clear()
        os.environ.update(environment)
        sys.argv, logging.getLogger().handlers[:] = arguments, handlers
        HydraConfig.instance().cfg = None
        GlobalHydra.instance().clear()
    return code, out.getvalue(), err.getvalue()


def call_command(name: str, words: list[str], folder: Path) -> tuple[int, str, str]:
    """Run a command in a process of its own; return exit code, stdout and stderr."""
    done = run(name, *words, cwd=folder, XDG_CACHE_HOME=world()["WORLD"] + "/cache")
    return done.returncode, done.stdout, done.stderr


@functools.cache
def world() -> dict[str, str]:
    """What the words in capitals stand for: made once, and not changed by any line."""
    folder = scratch() / "wrong_lines"
    photos = folder / "photos"
    places = {"RUN": folder / "run", "HEADS": folder / "heads", "PHOTOS": photos, "FLAT": photos / "rose"}
    places |= {
        "IMAGE": photos / "rose" / "0.jpg",
        "TEXT": folder / "text.txt",
        "EMPTY": folder / "empty",
        "WORLD": folder,
    }
    for number, name in enumerate(("rose", "daisy", "lily")):
        (photos / name).mkdir(parents=True)
        for k in range(8):
            flower = draw_flower(Species.from_number(number), 40, np.random.default_rng([number, k]))
            flower.save(photos / name / f"{k}.jpg")
    places["EMPTY"].mkdir()
    places["TEXT"].write_text("nothing\n")
    keys = {**TINY, "data.root": folder / "drawn", "runs": folder / "runs"}
    for name, word in (("run", "strategy=fine_tuning"), ("heads", "heads.lr=[1e-3,1e-2]")):
        words = [word, f"hydra.run.dir={folder / name}", *(f"{key}={value}" for key, value in keys.items())]
        done = run("train", *words, cwd=folder, XDG_CACHE_HOME=str(folder / "cache"))
        assert done.returncode == 0, done.stderr
    return {name: str(path) for name, path in places.items()}


def snapshot() -> dict[str, int]:
    """All files and folders of the world, with the files' sizes and times; those of the cache are touched at each use."""
    files = Path(world()["WORLD"]).rglob("*")
    return {str(path): path.stat().st_mtime_ns if path.is_file() and path.name != "meta.json" else 0 for path in files}
