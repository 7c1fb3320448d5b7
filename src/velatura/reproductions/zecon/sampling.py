"""ZeCon's sampling on an ADM: inversion, guided DDPM and DDIM steps, and the gradient that guides them.

Spec guided, section 2; guided-details 1.3, 1.4 and 2. Levels are counted by ``index`` in the respaced schedule.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from velatura.losses import LossInput, Objective, Term
from velatura.losses.clip import GlobalClip, PatchClip
from velatura.losses.mse import PixelMSE
from velatura.losses.range import OutOfRange, out_of_range
from velatura.losses.vgg import ShallowFeatureMSE
from velatura.models.adm.backbone import PixelBackbone
from velatura.models.backbone import Conditioning, Prediction
from velatura.reproductions.zecon.ancestral import AncestralSchedule, rounded_index, white_noise
from velatura.reproductions.zecon.losses import PUBLISHED_LOSSES

WITHOUT_CONTENT = (GlobalClip.name, PatchClip.name)  # for all others but the range loss the content is noised anew
GATES = {PixelMSE.name: 700, ShallowFeatureMSE.name: 800}  # indices from which a loss does not count
Values = dict[str, float]


@dataclass(frozen=True, eq=False)
class Guidance:
    """The gradient of ZeCon's losses through the UNet.

    ``content`` is (1, 3, H, W); ``generator`` is the source of all noise, warps and positions of a run.
    """

    backbone: PixelBackbone
    schedule: AncestralSchedule
    objective: Objective
    content: Tensor
    generator: torch.Generator

    @property
    def conditioning(self) -> Conditioning:
        """The model's empty conditioning."""
        return self.backbone.unconditional()

    def predict(self, x: Tensor, index: int) -> Prediction:
        """The model's prediction for x (1, 3, H, W) at a level."""
        return self.backbone.predict(x, self.schedule.timesteps[index], self.conditioning)

    def noise(self) -> Tensor:
        """Noise of the content's shape, drawn now."""
        return white_noise(self.content.shape, self.generator).to(self.content)

    def __call__(self, x: Tensor, index: int) -> tuple[Tensor, Values]:
        """-dL/dx_t (1, 3, H, W), and each loss's value; at the index that the program computes from the timestep."""
        at = rounded_index(self.schedule.timesteps[index], len(self.schedule))
        terms = {term.loss.name: term for term in self.objective.terms}
        share = self._share(at)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            x0 = self.schedule.predict_x0(x, self.predict(x, at).noise, at)
            x_in = share * x0 + (1 - share) * x
            result = self.objective.loss_input(x_in, x_in, tuple(terms.values()))
            total, values = x.new_zeros(()), Values()
            for name in PUBLISHED_LOSSES:
                if name in terms and at < GATES.get(name, len(self.schedule)):
                    value = self._loss(terms[name], result, x0, at)
                    total, values[name] = total + terms[name].weight * value, value.item()
            if not values:
                return torch.zeros_like(x), values
            return -torch.autograd.grad(total, x)[0], values

    def _share(self, index: int) -> float:
        """f = sqrt(1 - abar), the share of x0 in what the losses compare: x_in = f x0 + (1 - f) x_t."""
        return float((1 - self.schedule.abars[index]) ** 0.5)

    def _loss(self, term: Term, result: LossInput, x0: Tensor, index: int) -> Tensor:
        """The value of one loss; the range loss is that of x0, summed over pictures."""
        if term.loss.name == OutOfRange.name:
            return out_of_range(x0).sum()
        if term.loss.name in WITHOUT_CONTENT:
            return term.loss(result, LossInput(self.content))
        return term.loss(result, self._noised_content(term, index))

    @torch.no_grad()
    def _noised_content(self, term: Term, index: int) -> LossInput:
        """y_in for one loss: the content mixed with a freshly noised copy of itself, as x_in is."""
        share = self._share(index)
        y_in = share * self.content + (1 - share) * self.schedule.add_noise(self.content, self.noise(), index)
        return self.objective.loss_input(y_in, y_in, (term,))


def invert(guidance: Guidance, run: int) -> Tensor:
    """The content after ``run`` reversed DDIM steps, one level beyond that which denoising starts from."""
    x, schedule = guidance.content, guidance.schedule
    for index in range(run):
        x0 = schedule.predict_x0(x, guidance.predict(x, index).noise, index)
        x = schedule.ddim_reverse(x, x0, index)
    return x


def ddpm_step(guidance: Guidance, x: Tensor, index: int) -> tuple[Tensor, Tensor, Values]:
    """x_{t-1} with its mean moved by -variance * dL/dx_t, the x0 of before guidance, and the losses' values."""
    prediction = guidance.schedule.predict_step(x, guidance.predict(x, index), index)
    fresh = guidance.noise()  # drawn before what guidance draws
    gradient, values = guidance(x, index)
    return guidance.schedule.ancestral_step(prediction, fresh, index, gradient), prediction.x0, values


def ddim_step(guidance: Guidance, x: Tensor, index: int, eta: float) -> tuple[Tensor, Tensor, Values]:
    """x_{t-1} by noise moved by sqrt(1 - abar) dL/dx_t, the x0 of after guidance, and the losses' values."""
    prediction = guidance.schedule.predict_step(x, guidance.predict(x, index), index)
    gradient, values = guidance(x, index)
    fresh = guidance.noise()  # drawn after what guidance draws
    x, x0 = guidance.schedule.ddim_step(x, prediction.x0, fresh, index, eta, gradient)
    return x, x0, values
